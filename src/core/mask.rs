//! Secrets masked in foreign text by what the text means: as it stands, and decoded from JSON, from a URL and from HTML, up to
//! three times.

use std::ops::Range;

/// Bytes of UTF-8. Shorter secrets occur in any text by chance; to mask them would tell more than it hides.
pub const SHORTEST_MASKED: usize = 4;

const MASK: &[u8] = b"***";

/// Decodings that follow each other: the documented error is JSON in JSON, and a page within it may be HTML. One more would
/// double the time of a hostile text.
const MAX_DECODINGS: usize = 3;

/// Secrets that foreign text may echo. No `Debug`.
pub struct Masks(Vec<Vec<char>>);

impl Masks {
    pub fn new(secrets: &[String]) -> Self {
        let secrets = secrets.iter().filter(|secret| secret.len() >= SHORTEST_MASKED);
        Self(secrets.map(|secret| secret.chars().map(fold).collect()).collect())
    }

    /// Replaces the secrets in foreign text.
    pub fn mask(&self, text: impl AsRef<[u8]>) -> String {
        mask(text.as_ref(), &self.0, false)
    }

    /// Does the same for text that was cut anywhere and may end in the beginning of a secret, which is replaced too.
    pub fn mask_cut(&self, text: impl AsRef<[u8]>) -> String {
        mask(text.as_ref(), &self.0, true)
    }
}

fn mask(text: &[u8], secrets: &[Vec<char>], is_cut: bool) -> String {
    let view = View::of(text, is_cut);
    let mut search = Search { secrets, is_cut, length: text.len(), whole: view.end, hits: Vec::new() };
    search.look(&view, MAX_DECODINGS);
    search.hits.sort_unstable_by_key(|hit| hit.start);
    let mut out = Vec::with_capacity(text.len());
    let mut done = 0;
    for hit in search.hits {
        // One secret may contain another, and each decoding finds a secret again that needs none.
        if hit.start >= done {
            out.extend_from_slice(text.get(done..hit.start).unwrap_or_default());
            out.extend_from_slice(MASK);
        }
        done = done.max(hit.end);
    }
    out.extend_from_slice(text.get(done..).unwrap_or_default());
    String::from_utf8_lossy(&out).into_owned()
}

/// Whether a text holds a word, compared as secrets are.
pub fn holds(text: &str, word: &str) -> bool {
    let folded = |text: &str| text.chars().map(fold).collect::<String>();
    folded(text).contains(&folded(word))
}

/// One form of what counts as the same: a host name turns a secret into lower case, a form turns a blank into a plus.
fn fold(c: char) -> char {
    if c.is_ascii() {
        return if c == ' ' { '+' } else { c.to_ascii_lowercase() };
    }
    let mut lower = c.to_lowercase();
    match (lower.next(), lower.next()) {
        (Some('\u{a0}'), None) => '+',
        (Some(one), None) => one,
        _ => c,
    }
}

struct Search<'a> {
    secrets: &'a [Vec<char>],
    is_cut: bool,
    /// Bytes of the text.
    length: usize,
    /// The same without a character that the cut has left half.
    whole: usize,
    /// Bytes of the text that stand for secrets.
    hits: Vec<Range<usize>>,
}

impl Search<'_> {
    /// Looks for the secrets in this reading of the text, and in what its decodings make of it.
    fn look(&mut self, view: &View, depth: usize) {
        let folded: Vec<char> = view.chars.iter().copied().map(fold).collect();
        for secret in self.secrets {
            self.find(secret, view, &folded);
        }
        // Half an escape may tell the first letter of a secret. Its sign alone tells nothing.
        if self.is_cut && view.end + 1 < self.whole {
            self.hits.push(view.end..self.length);
        }
        let Some(depth) = depth.checked_sub(1) else { return };
        for code in &CODES {
            if let Some(view) = view.decoded(code, self.is_cut) {
                self.look(&view, depth);
            }
        }
    }

    /// Adds where a secret stands, and where it begins at the end of a text that was cut.
    fn find(&mut self, secret: &[char], view: &View, folded: &[char]) {
        // None, which is no character, keeps the two apart.
        let joined: Vec<_> = secret.iter().map(Some).chain([None]).chain(folded.iter().map(Some)).collect();
        let lengths = beginnings(&joined).split_off(secret.len() + 1);
        for (end, _) in (1..).zip(&lengths).filter(|(_, length)| **length == secret.len()) {
            let hit = view.start(end - secret.len())..view.start(end);
            match self.hits.last_mut() {
                // A secret of one repeated letter would be a hit at each of its letters.
                Some(last) if last.contains(&hit.start) => last.end = last.end.max(hit.end),
                _ => self.hits.push(hit),
            }
        }
        let begun = lengths.last().copied().unwrap_or(0);
        if self.is_cut && begun > 0 && begun < secret.len() {
            self.hits.push(view.start(folded.len() - begun)..self.length);
        }
    }
}

/// For each place of a text, the length of its longest beginning that ends there (Knuth, Morris and Pratt). The time is linear, also
/// for one repeated letter.
fn beginnings<T: PartialEq>(text: &[T]) -> Vec<usize> {
    let mut lengths: Vec<usize> = Vec::with_capacity(text.len());
    for (at, c) in text.iter().enumerate() {
        let mut length = lengths.last().copied().unwrap_or(0);
        while length > 0 && text.get(length) != Some(c) {
            length = lengths.get(length - 1).copied().unwrap_or(0);
        }
        lengths.push(length + usize::from(at > 0 && text.get(length) == Some(c)));
    }
    lengths
}

/// One reading of a text: its characters, each with the byte of the text at which it begins.
#[derive(Default)]
struct View {
    chars: Vec<char>,
    starts: Vec<usize>,
    /// The byte of the text at which the last character ends.
    end: usize,
}

impl View {
    /// The text as it stands.
    fn of(text: &[u8], is_cut: bool) -> Self {
        let mut builder = Builder::default();
        for (at, byte) in text.iter().enumerate() {
            builder.push(Unit::Byte(*byte), at);
        }
        builder.finish(text.len(), is_cut)
    }

    fn start(&self, at: usize) -> usize {
        self.starts.get(at).copied().unwrap_or(self.end)
    }

    /// This reading without escapes of one kind; None if there are none. An escape that the cut has left half is no part of it.
    fn decoded(&self, code: &Code, is_cut: bool) -> Option<Self> {
        let first = self.chars.iter().position(|c| *c == code.sign)?;
        let mut builder = Builder::default();
        let (mut at, mut end, mut is_other) = (0, self.end, false);
        while let Some(c) = self.chars.get(at) {
            let rest = self.chars.get(at..).filter(|_| at >= first && *c == code.sign);
            match rest.map_or(Found::Nothing, code.read) {
                Found::Begun | Found::Open(..) if is_cut => {
                    (end, is_other) = (self.start(at), true);
                    break;
                }
                Found::Escape(unit, length) | Found::Open(unit, length) => {
                    builder.push(unit, self.start(at));
                    (at, is_other) = (at + length, true);
                }
                Found::Begun | Found::Nothing => {
                    builder.push(Unit::Char(*c), self.start(at));
                    at += 1;
                }
            }
        }
        is_other.then(|| builder.finish(end, is_cut))
    }
}

/// What an escape stands for.
enum Unit {
    Char(char),
    Byte(u8),
    Utf16(u16),
}

/// Makes a reading of units, which may be parts of a character.
#[derive(Default)]
struct Builder {
    view: View,
    bytes: Vec<u8>,
    utf16: Vec<u16>,
    /// The starts of these bytes, or of this UTF-16.
    starts: Vec<usize>,
}

impl Builder {
    fn push(&mut self, unit: Unit, start: usize) {
        match unit {
            Unit::Char(c) => {
                self.flush();
                self.view.chars.push(c);
                self.view.starts.push(start);
                return;
            }
            Unit::Byte(byte) => {
                if !self.utf16.is_empty() {
                    self.flush();
                }
                self.bytes.push(byte);
            }
            Unit::Utf16(unit) => {
                if !self.bytes.is_empty() {
                    self.flush();
                }
                self.utf16.push(unit);
            }
        }
        self.starts.push(start);
    }

    /// Reads the bytes as UTF-8, and as Latin-1 where they are none.
    fn flush(&mut self) {
        let mut starts = self.starts.drain(..);
        let view = &mut self.view;
        let mut add = |c: char, units: usize| {
            view.chars.push(c);
            view.starts.extend(starts.next());
            starts.by_ref().take(units - 1).for_each(drop);
        };
        for chunk in self.bytes.utf8_chunks() {
            chunk.valid().chars().for_each(|c| add(c, c.len_utf8()));
            chunk.invalid().iter().for_each(|byte| add(char::from(*byte), 1));
        }
        for c in char::decode_utf16(self.utf16.iter().copied()) {
            let c = c.unwrap_or(char::REPLACEMENT_CHARACTER);
            add(c, c.len_utf16());
        }
        self.bytes.clear();
        self.utf16.clear();
    }

    fn finish(mut self, end: usize, is_cut: bool) -> View {
        self.view.end = end;
        if is_cut {
            let half = match self.utf16.last() {
                Some(0xd800..=0xdbff) => 1,
                _ => half_character(&self.bytes),
            };
            let whole = self.starts.len() - half;
            self.view.end = self.starts.get(whole).copied().unwrap_or(end);
            self.starts.truncate(whole);
            self.bytes.truncate(whole);
            self.utf16.truncate(whole);
        }
        self.flush();
        self.view
    }
}

/// Bytes at the end that are the beginning of a character in UTF-8.
fn half_character(bytes: &[u8]) -> usize {
    let last = bytes.utf8_chunks().last().map_or(&[][..], |chunk| chunk.invalid());
    let is_half = std::str::from_utf8(last).is_err_and(|error| error.error_len().is_none());
    if is_half { last.len() } else { 0 }
}

/// One kind of escapes: the character that each begins with, and how an escape is read.
struct Code {
    sign: char,
    read: fn(&[char]) -> Found,
}

const CODES: [Code; 3] =
    [Code { sign: '\\', read: of_string }, Code { sign: '%', read: of_url }, Code { sign: '&', read: of_html }];

/// What stands at the beginning of a text.
enum Found {
    Nothing,
    /// An escape of so many characters.
    Escape(Unit, usize),
    /// The same, which the end of the text ends. Of a text that was cut it may be the beginning of a longer one.
    Open(Unit, usize),
    /// The text ends within an escape.
    Begun,
}

/// Escapes of JSON (RFC 8259 section 7), and those of JavaScript, Python and Rust. Those of controls mean nothing here: no
/// secret holds a control.
fn of_string(text: &[char]) -> Found {
    match text.get(1) {
        None => Found::Begun,
        Some('u') if text.get(2) == Some(&'{') => braced(text, 3),
        Some('u') => digits(text, 2, 4),
        Some('U') => digits(text, 2, 8),
        Some('x') => digits(text, 2, 2),
        Some(mark) if mark.is_ascii_punctuation() => Found::Escape(Unit::Char(*mark), 2),
        Some(_) => Found::Nothing,
    }
}

/// Escapes of a URL (RFC 3986 section 2.1), and those of JavaScript's `escape`.
fn of_url(text: &[char]) -> Found {
    if text.get(1) == Some(&'u') { digits(text, 2, 4) } else { digits(text, 1, 2) }
}

/// Character references of HTML and XML. Browsers take some without the semicolon too.
fn of_html(text: &[char]) -> Found {
    let (name, behind) = word(text, 1);
    let length = name.len();
    if let (Some(';'), Some(unit)) = (behind.first(), reference(name)) {
        return Found::Escape(unit, length + 2);
    }
    let beginning = (1..=length).rev().find_map(|length| Some((unended(name.get(..length)?)?, length + 1)));
    match (beginning, behind.is_empty()) {
        (Some((unit, length)), false) => Found::Escape(unit, length),
        (Some((unit, length)), true) => Found::Open(unit, length),
        (None, true) => Found::Begun,
        (None, false) => Found::Nothing,
    }
}

/// What stands between the ampersand and the semicolon.
fn reference(name: &[char]) -> Option<Unit> {
    match name {
        ['#', 'x' | 'X', digits @ ..] => scalar(number(digits, 16)?),
        ['#', digits @ ..] => scalar(number(digits, 10)?),
        name => named(name).map(Unit::Char),
    }
}

/// The same without a semicolon: a number, or a name of the first HTML.
fn unended(name: &[char]) -> Option<Unit> {
    match name {
        ['#', ..] => reference(name),
        name if name.len() > LONGEST_UNENDED => None,
        name => named(name).filter(|c| matches!(c, '&' | '<' | '>' | '"' | '\u{a0}'..='\u{ff}')).map(Unit::Char),
    }
}

fn named(name: &[char]) -> Option<char> {
    let text = format!("&{};", name.iter().collect::<String>());
    let decoded = html_escape::decode_html_entities(&text);
    let mut chars = decoded.chars();
    match (chars.next(), chars.next()) {
        (Some(one), None) => Some(one),
        _ => None,
    }
}

/// An escape of this many hexadecimal digits: two are a byte, four are UTF-16, eight are a character.
fn digits(text: &[char], from: usize, count: usize) -> Found {
    let there: Vec<char> = text.iter().skip(from).take(count).copied().collect();
    if !there.iter().all(char::is_ascii_hexdigit) {
        return Found::Nothing;
    }
    if there.len() < count {
        return Found::Begun;
    }
    let unit = number(&there, 16).and_then(|number| match count {
        2 => u8::try_from(number).ok().map(Unit::Byte),
        4 => u16::try_from(number).ok().map(Unit::Utf16),
        _ => scalar(number),
    });
    unit.map_or(Found::Nothing, |unit| Found::Escape(unit, from + count))
}

/// The longest name or number of a character, with zeros before it: `CounterClockwiseContourIntegral` has 31.
const MAX_NAME_LENGTH: usize = 32;

/// The longest name that needs no semicolon, such as `Aacute`.
const LONGEST_UNENDED: usize = 6;

/// The name or number of a character that begins there, and what stands behind it.
fn word(text: &[char], from: usize) -> (&[char], &[char]) {
    let rest = text.get(from..).unwrap_or_default();
    let is_part = |c: &char| c.is_ascii_alphanumeric() || *c == '#';
    rest.split_at(rest.iter().take(MAX_NAME_LENGTH).take_while(|c| is_part(c)).count())
}

/// The number of a character in braces.
fn braced(text: &[char], from: usize) -> Found {
    let (digits, behind) = word(text, from);
    match behind.first() {
        None => Found::Begun,
        Some('}') => number(digits, 16)
            .and_then(scalar)
            .map_or(Found::Nothing, |unit| Found::Escape(unit, from + digits.len() + 1)),
        Some(_) => Found::Nothing,
    }
}

fn number(digits: &[char], radix: u32) -> Option<u32> {
    let add = |number: u32, c: &char| number.checked_mul(radix)?.checked_add(c.to_digit(radix)?);
    digits.iter().try_fold(0, add)
}

/// A character by its number, or one half of a surrogate pair.
fn scalar(number: u32) -> Option<Unit> {
    match u16::try_from(number) {
        Ok(half @ 0xd800..=0xdfff) => Some(Unit::Utf16(half)),
        _ => char::from_u32(number).map(Unit::Char),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    const SECRET: &str = "Gr\u{fc}\u{df}e/\"2 n!&<\u{43b}\u{1f511}";

    fn masked(text: impl AsRef<[u8]>, secret: &str) -> String {
        Masks::new(&[secret.to_owned()]).mask(text)
    }

    fn cut(text: impl AsRef<[u8]>, secret: &str) -> String {
        Masks::new(&[secret.to_owned()]).mask_cut(text)
    }

    #[test]
    fn decodes_what_others_write() {
        let each = |form: &dyn Fn(u32) -> String| SECRET.chars().map(|c| form(c.into())).collect::<String>();
        for spelled in [
            SECRET.to_owned(),
            SECRET.to_lowercase(),
            SECRET.to_uppercase().replace("SS", "\u{df}"),
            SECRET.replace('"', "\\\""),
            r#"Gr\u00fc\u00DFe\/\"2 n!\u0026\u003c\u043B\ud83d\uDD11"#.to_owned(),
            r#"Gr\xc3\xbc\xc3\x9fe/\"2\x20n!&<\xd0\xbb\xf0\x9f\x94\x91"#.to_owned(),
            r#"Gr\xfc\xdfe/"2 n!&<\u043b\U0001f511"#.to_owned(),
            each(&|c| format!("\\u{{{c:x}}}")),
            "Gr%C3%BC%c3%9fe%2f%222+n!%26%3C%D0%BB%F0%9F%94%91".to_owned(),
            "Gr%FC%DFe%2F%222%20n!%26%3C%u043b%ud83d%udd11".to_owned(),
            "Gr&uuml;&szlig;e/&quot;2&nbsp;n!&amp;&lt;\u{43b}&#55357;&#56593;".to_owned(),
            each(&|c| format!("&#{c};")),
            each(&|c| format!("&#X{c:05x};")),
        ] {
            assert_eq!(masked(format!("a {spelled} b"), SECRET), "a *** b", "{spelled}");
            for (sign, twice) in
                [("%", "%25"), ("&", "&amp;"), ("&", r"\u0026"), (r"\", r"\\"), (r"\", "%5c"), (r"\", "&#92;")]
            {
                let spelled = spelled.replace(sign, twice);
                assert_eq!(masked(format!("a {spelled} b"), SECRET), "a *** b", "{spelled}");
            }
        }
        for spelled in [
            "p&auml;ss&euro;&pi;&lpar;",
            "p&auml;ss&#8364&#960&#40",
            "p&aumlss&#x20ac&#x3c0&#40;",
            "p&amp;auml;ss&amp;euro;&amp;pi;&amp;lpar;",
            "p%26auml;ss&euro;%CF%80(",
            r"p\u0026auml;ss\u20ac\u03c0(",
            "P&Auml;SS&euro;&Pi;(",
        ] {
            assert_eq!(masked(format!("a {spelled}"), "p\u{e4}ss\u{20ac}\u{3c0}("), "a ***", "{spelled}");
        }
        assert_eq!(masked("&ltpw&gt", "<pw>"), "***");
        assert_eq!(masked("&ltpw&gt;", "<pw>"), "***");
        assert_eq!(masked(b"a Gr\xfc\xdfe b", "Gr\u{fc}\u{df}e"), "a *** b");
        assert_eq!(masked("it&apos;s", "it's"), "***");
        assert_eq!(masked("a%2541bcd", "a%41bcd"), "***");
    }

    #[test]
    fn leaves_the_rest_as_it_is() {
        let odd =
            r" a \ % & &; &#; &#x; &#xd800; &#99999999999; \u{} \u{110000} %zz \ud83d \uD83D\u0041 %F0%9F &unknown; İ";
        for odd in odd.split(' ') {
            let text = format!("{odd} 100%, a&b; \\\\server {odd}");
            assert_eq!(masked(&text, SECRET), text);
            assert_eq!(masked(format!("{text} {SECRET} {text}"), SECRET), format!("{text} *** {text}"));
        }
        assert_eq!(masked(b"\xff\xc3", SECRET), "\u{fffd}\u{fffd}");
        assert_eq!(masked("abc ab", "abc"), "abc ab");
    }

    #[test]
    fn hits_that_overlap_are_one() {
        assert_eq!(masked("aaaaaaa-aaaa-aaa", "aaaa"), "***-***-aaa");
        assert_eq!(masked("abcdabcd", "abcd"), "******");
        let secrets = ["cdef", "abcdefgh", "efgh"].map(str::to_owned);
        assert_eq!(Masks::new(&secrets).mask("x abcdefgh cdefgh"), "x *** ***");
    }

    #[test]
    fn a_cut_leaves_no_beginning() {
        let secret = "\u{43b}/\"\u{fc}&secret";
        for spelled in [
            secret,
            r#"\u043b\/\"\u00fc\u0026secret"#,
            "%D0%BB%2F%22%C3%BC%26secret",
            "%u043b%2F%22%FC%26secret",
            "&#1083;/&quot;&uuml;&amp;secret",
            "%5Cu043b%5C/%5C%22%C3%BC%5cu0026secret",
            "&amp;#1083;/&amp;quot;&amp;uuml;&amp;amp;secret",
            "&#1083/&quot&uuml&ampsecret",
            r#"\\u043b\\/\\"\\u00fc\\u0026secret"#,
        ] {
            for length in 1..=spelled.len() {
                let masked = cut([b"abc ", &spelled.as_bytes()[..length]].concat(), secret);
                let is_sign = length == 1 && !masked.contains('*');
                assert!(masked == "abc ***" || is_sign, "{length} of {spelled}: {masked}");
            }
        }
        assert_eq!(cut("abc", "secret"), "abc");
        assert_eq!(cut("100%", "secret"), "100%");
        assert_eq!(cut(b"abc\xd0", "secret"), "abc\u{fffd}");
    }

    #[test]
    fn a_hostile_text_costs_no_more_than_its_length() {
        let repeated = "a".repeat(1000);
        let secrets = [repeated.clone(), repeated + "b", SECRET.to_owned(), "%25%25%25\\\\&&".to_owned()];
        for piece in r"%25 % \ & a &# &#0 &amp; \u0041 %61 %5c%5c&amp;#37; \ud83d %F0%9F ü".split(' ') {
            let text = piece.repeat(64 * 1024 / piece.len());
            let (masks, begin) = (Masks::new(&secrets), Instant::now());
            masks.mask(&text);
            masks.mask_cut(&text);
            let time = begin.elapsed();
            // A search that is quadratic would take minutes.
            assert!(time < Duration::from_secs(120), "{piece}: {time:?}");
        }
    }
}
