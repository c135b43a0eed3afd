//! `POST /node/api/objects/search`, the vendor's "Search Objects" → the objects, one after the other. An answer has no pages,
//! and can have a hundred megabytes.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use reqwest::Method;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::core::transport::call::{About, Call, Reader, StreamReader};

/// What becomes of the objects.
pub trait Sink: Send {
    /// Takes some objects as a JSON array. An error says what they are.
    fn take(&mut self, objects: &[u8]) -> Result<(), String>;
}

/// The objects of a whole answer.
pub struct Found<S> {
    pub count: usize,
    pub objects: S,
}

/// As log lines say it.
impl<S> fmt::Display for Found<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "objects={}", self.count)
    }
}

/// Searches with this JSON body. Of each object the named fields are kept, and `id`; without names all are.
pub fn call<S: Sink + 'static>(
    body: Vec<u8>,
    fields: Option<HashSet<String>>,
    sink: impl Fn() -> S + Send + Sync + 'static,
) -> Call<Found<S>> {
    let fields = fields.map(Arc::new);
    Call {
        about: About::Search,
        method: Method::POST,
        path: "/node/api/objects/search".to_owned(),
        body,
        is_repeatable: true,
        read: Reader::Stream(Arc::new(move || Box::new(Objects::new(fields.clone(), sink())))),
    }
}

/// What comes next in the answer: an array of objects, or an object whose field `objects` is that array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Beginning,
    Object,
    ObjectOrEnd,
    CommaOrEnd,
    /// Of the object around the array.
    Field,
    FieldOrEnd,
    FieldCommaOrEnd,
    /// Nothing, after the end.
    Nothing,
}

/// The field that holds the array, in an older form of the answer.
const OBJECTS: &str = "objects";

struct Objects<S> {
    fields: Option<Arc<HashSet<String>>>,
    sink: S,
    next: Next,
    /// Whether the array stands in an object, and whether it has come there.
    is_wrapped: bool,
    has_array: bool,
    /// What is not read yet: the beginning of a value.
    rest: Vec<u8>,
    /// The length of the rest at which it is read again. It doubles, so that a long value is not read for each of its pieces.
    enough: usize,
    ids: HashSet<Box<str>>,
    /// The objects of this piece, as a JSON array.
    taken: Vec<u8>,
    /// Whether the body has ended.
    is_last: bool,
}

/// Whether a byte may stand between two tokens (RFC 8259 section 2).
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// Why a value could not be read.
enum Stop {
    Incomplete,
    Wrong(String),
}

impl Stop {
    fn wrong(text: impl Into<String>) -> Self {
        Self::Wrong(text.into())
    }
}

impl<S: Sink> Objects<S> {
    fn new(fields: Option<Arc<HashSet<String>>>, sink: S) -> Self {
        Self {
            fields,
            sink,
            next: Next::Beginning,
            is_wrapped: false,
            has_array: false,
            rest: Vec::new(),
            enough: 0,
            ids: HashSet::new(),
            taken: Vec::new(),
            is_last: false,
        }
    }

    /// Reads what is complete.
    fn read(&mut self) -> Result<(), String> {
        let rest = std::mem::take(&mut self.rest);
        let mut used = 0;
        let done = loop {
            let unread = rest.get(used..).unwrap_or_default();
            let blank = unread.iter().position(|byte| !is_blank(*byte));
            let Some(blank) = blank else {
                used = rest.len();
                break Ok(());
            };
            match self.step(unread.get(blank..).unwrap_or_default()) {
                Ok(length) => used += blank + length,
                Err(Stop::Incomplete) => break Ok(()),
                Err(Stop::Wrong(text)) => break Err(text),
            }
        };
        self.rest = rest;
        self.rest.drain(..used);
        self.enough = 2 * self.rest.len();
        done?;
        self.hand_over()
    }

    fn hand_over(&mut self) -> Result<(), String> {
        if self.taken.is_empty() {
            return Ok(());
        }
        self.taken.push(b']');
        let done = self.sink.take(&self.taken);
        self.taken.clear();
        done
    }

    /// Reads one token or value of the answer. The text begins with it. Returns its length.
    fn step(&mut self, text: &[u8]) -> Result<usize, Stop> {
        let first = text.first().copied().unwrap_or_default();
        match (self.next, first) {
            (Next::Beginning, b'[') => self.then(Next::ObjectOrEnd, 1),
            (Next::Beginning, b'{') => {
                self.is_wrapped = true;
                self.then(Next::FieldOrEnd, 1)
            }
            (Next::Beginning, _) => Err(Stop::wrong("a body that is no JSON array of objects")),
            (Next::ObjectOrEnd | Next::CommaOrEnd, b']') => {
                self.has_array = true;
                self.then(if self.is_wrapped { Next::FieldCommaOrEnd } else { Next::Nothing }, 1)
            }
            (Next::CommaOrEnd, b',') => self.then(Next::Object, 1),
            (Next::Object | Next::ObjectOrEnd, _) => {
                let length = self.object(text)?;
                self.then(Next::CommaOrEnd, length)
            }
            (Next::FieldOrEnd | Next::FieldCommaOrEnd, b'}') if self.has_array => self.then(Next::Nothing, 1),
            (Next::FieldOrEnd | Next::FieldCommaOrEnd, b'}') => Err(Stop::wrong("an object without `objects`")),
            (Next::FieldCommaOrEnd, b',') => self.then(Next::Field, 1),
            (Next::Field | Next::FieldOrEnd, b'"') => self.field(text),
            (Next::CommaOrEnd, _) => Err(Stop::Wrong(format!("no comma after object {}", self.ids.len()))),
            (Next::Field | Next::FieldOrEnd | Next::FieldCommaOrEnd, _) => {
                Err(Stop::wrong("an object that is not valid JSON"))
            }
            (Next::Nothing, _) => Err(Stop::wrong("more than one JSON value")),
        }
    }

    fn then(&mut self, next: Next, length: usize) -> Result<usize, Stop> {
        self.next = next;
        Ok(length)
    }

    /// A field of the object around the array: up to the array, or whole.
    fn field(&mut self, text: &[u8]) -> Result<usize, Stop> {
        let wrong = |error: serde_json::Error| Stop::Wrong(format!("an object that is not valid JSON: {error}"));
        let (name, colon) = value::<Cow<'_, str>>(text).map_err(|error| stop(error, text, self.is_last, wrong))?;
        let behind = |at: usize| {
            let rest = text.get(at..).unwrap_or_default();
            let blank = rest.iter().position(|byte| !is_blank(*byte)).ok_or(Stop::Incomplete)?;
            Ok((at + blank, rest.get(blank).copied().unwrap_or_default()))
        };
        let (at, first) = behind(colon)?;
        if first != b':' {
            return Err(Stop::wrong("an object that is not valid JSON: no colon"));
        }
        let (at, first) = behind(at + 1)?;
        match (name == OBJECTS, first) {
            (true, b'[') if !self.has_array => self.then(Next::ObjectOrEnd, at + 1),
            (true, b'[') => Err(Stop::wrong("an object with `objects` twice")),
            (true, _) => Err(Stop::wrong("an `objects` that is not an array")),
            (false, _) => {
                let rest = text.get(at..).unwrap_or_default();
                let (_, length) = value::<&RawValue>(rest).map_err(|error| stop(error, text, self.is_last, wrong))?;
                // The number 12 may go on.
                if length == rest.len() { Err(Stop::Incomplete) } else { self.then(Next::FieldCommaOrEnd, at + length) }
            }
        }
    }

    /// An object of the array.
    fn object(&mut self, text: &[u8]) -> Result<usize, Stop> {
        let place = self.ids.len();
        let wrong = |what: &str| Stop::Wrong(format!("an array whose item {place} {what}"));
        if text.first() != Some(&b'{') {
            return Err(wrong("is not an object"));
        }
        let invalid = |error: serde_json::Error| wrong(&format!("is not valid JSON: {error}"));
        let (Fields(fields), length) = value(text).map_err(|error| stop(error, text, self.is_last, invalid))?;
        let mut ids = fields.iter().filter(|(name, _)| name == "id").map(|(_, value)| value);
        let id = match (ids.next(), ids.next()) {
            (None, _) => return Err(wrong("has no `id`")),
            (_, Some(_)) => return Err(wrong("has its `id` twice")),
            (Some(id), None) => serde_json::from_str::<Box<str>>(id.get()),
        };
        let id = id.map_err(|_| wrong("has an `id` that is not a string"))?;
        if id.is_empty() {
            return Err(wrong("has an empty `id`"));
        }
        if !self.ids.insert(id) {
            return Err(wrong("has the `id` of another one"));
        }
        self.taken.push(if self.taken.is_empty() { b'[' } else { b',' });
        match self.fields.as_deref() {
            None => self.taken.extend_from_slice(text.get(..length).unwrap_or_default()),
            Some(names) => {
                let kept = fields.iter().filter(|(name, _)| name == "id" || names.contains(name.as_ref()));
                for (place, (name, value)) in kept.enumerate() {
                    self.taken.push(if place == 0 { b'{' } else { b',' });
                    // A Vec takes whatever is written.
                    let _ = serde_json::to_writer(&mut self.taken, name);
                    self.taken.push(b':');
                    self.taken.extend_from_slice(value.get().as_bytes());
                }
                self.taken.push(b'}');
            }
        }
        Ok(length)
    }
}

/// The fields of an object, with their values as they came.
struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;

        impl<'de> Visitor<'de> for Pairs {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::with_capacity(32);
                while let Some(Name(name)) = map.next_key()? {
                    fields.push((name, map.next_value()?));
                }
                Ok(Fields(fields))
            }
        }

        deserializer.deserialize_map(Pairs)
    }
}

/// A name of a field, not copied where it has no escapes.
struct Name<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl<'de> Visitor<'de> for Text {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_str(Text)
    }
}

/// Reads the value that a text begins with. Returns its length too.
fn value<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Result<(T, usize), serde_json::Error> {
    let mut values = serde_json::Deserializer::from_slice(text).into_iter();
    match values.next() {
        Some(value) => value.map(|value| (value, values.byte_offset())),
        None => Err(serde::de::Error::custom("no value")),
    }
}

/// Whether a value is wrong, or goes on in the next piece. A number that ends in its middle is not told as an end.
fn stop(error: serde_json::Error, text: &[u8], is_last: bool, wrong: impl FnOnce(serde_json::Error) -> Stop) -> Stop {
    let may_go_on = !is_last && matches!(text.last(), Some(b'-' | b'+' | b'.' | b'e' | b'E'));
    if error.is_eof() || may_go_on { Stop::Incomplete } else { wrong(error) }
}

impl<S: Sink> StreamReader<Found<S>> for Objects<S> {
    fn feed(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.rest.extend_from_slice(bytes);
        if self.rest.len() < self.enough { Ok(()) } else { self.read() }
    }

    fn finish(mut self: Box<Self>) -> Result<Found<S>, String> {
        self.is_last = true;
        self.read()?;
        match self.next {
            Next::Nothing => Ok(Found { count: self.ids.len(), objects: self.sink }),
            Next::Beginning => Err("an empty body".to_owned()),
            _ => Err(format!("a JSON array that is not complete; it ends after {} objects", self.ids.len())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Kept(Vec<serde_json::Value>);

    impl Sink for Kept {
        fn take(&mut self, objects: &[u8]) -> Result<(), String> {
            let found: Vec<_> = serde_json::from_slice(objects).map_err(|error| error.to_string())?;
            self.0.extend(found);
            Ok(())
        }
    }

    fn read(body: &[u8], fields: Option<&[&str]>, pieces: &[usize]) -> Result<Vec<serde_json::Value>, String> {
        let fields = fields.map(|names| Arc::new(names.iter().map(|&name| name.to_owned()).collect()));
        let mut reader = Box::new(Objects::new(fields, Kept::default()));
        let mut rest = body;
        for &piece in pieces {
            let (first, others) = rest.split_at(piece.min(rest.len()));
            reader.feed(first)?;
            rest = others;
        }
        reader.feed(rest)?;
        let found = reader.finish()?;
        assert_eq!(found.count, found.objects.0.len());
        Ok(found.objects.0)
    }

    const ANSWER: &str = r#" [ {"id":"a1","name":"Стойка \"7\"\\","x":[1,-2.5e3,{"y":[]}],"n":null,"t":true} ,
        {"weight":12,"id":"\u0061\ud83d\ude00","f":false,"name":"","deep":[[[[{}]]]]},{"id":"c"}]
    "#;

    #[test]
    fn reads_an_answer_cut_anywhere() {
        let whole: serde_json::Value = serde_json::from_str(ANSWER).unwrap();
        let bytes = ANSWER.as_bytes();
        for at in 0..bytes.len() {
            assert_eq!(serde_json::Value::from(read(bytes, None, &[at]).unwrap()), whole, "{at}");
            for second in [1, 2, 7] {
                assert_eq!(read(bytes, None, &[at, second]).unwrap().len(), 3, "{at} {second}");
            }
        }
        assert_eq!(serde_json::Value::from(read(bytes, None, &vec![1; bytes.len()]).unwrap()), whole);
    }

    #[test]
    fn a_part_of_an_answer_is_no_answer() {
        let bytes = ANSWER.trim().as_bytes();
        for at in 0..bytes.len() {
            let error = read(&bytes[..at], None, &[]).unwrap_err();
            let words = ["not complete", "an empty body", "not valid JSON: invalid number"];
            assert!(words.iter().any(|words| error.contains(words)), "{at}: {error}");
        }
        let wrapped = br#"{"a":12,"objects":[{"id":"x"}],"b":[]}"#;
        for at in 0..wrapped.len() {
            assert!(read(&wrapped[..at], None, &[]).is_err(), "{at}");
            assert_eq!(read(wrapped, None, &[at]).unwrap().len(), 1, "{at}");
        }
    }

    #[test]
    fn keeps_the_fields_that_are_asked_for() {
        let names: &[&str] = &["name", "weight", "no"];
        let found = read(ANSWER.as_bytes(), Some(names), &[40]).unwrap();
        let expected = r#"[{"id":"a1","name":"Стойка \"7\"\\"},{"weight":12,"id":"a😀","name":""},{"id":"c"}]"#;
        assert_eq!(serde_json::Value::from(found), serde_json::from_str::<serde_json::Value>(expected).unwrap());
        assert_eq!(read(br#"[{"a":{"id":1},"id":"x"}]"#, Some(&[]), &[]).unwrap()[0].to_string(), r#"{"id":"x"}"#);
    }

    #[test]
    fn reads_the_older_form() {
        assert_eq!(read(br#"{"objects":[]}"#, None, &[]).unwrap().len(), 0);
        assert_eq!(read(br#"{"total":2,"o":{"objects":3},"objects":[{"id":"x"}]}"#, None, &[]).unwrap().len(), 1);
        assert_eq!(read(b"[]", None, &[]).unwrap().len(), 0);
    }

    #[test]
    fn refuses_the_rest() {
        for (body, words) in [
            ("", "an empty body"),
            (" \n", "an empty body"),
            ("<html>", "no JSON array"),
            ("\u{feff}[]", "no JSON array"),
            ("null", "no JSON array"),
            ("[]]", "more than one"),
            ("[] []", "more than one"),
            ("[1]", "item 0 is not an object"),
            ("[null, {}]", "item 0 is not an object"),
            (r#"[{"id":"a"},"b"]"#, "item 1 is not an object"),
            (r#"[{"id":"a"}{"id":"b"}]"#, "no comma"),
            (r#"[{"id":"a"},]"#, "item 1 is not an object"),
            (r#"[,{"id":"a"}]"#, "item 0 is not an object"),
            (r#"[{"name":"x"}]"#, "has no `id`"),
            (r#"[{"id":7}]"#, "not a string"),
            (r#"[{"id":null}]"#, "not a string"),
            (r#"[{"id":""}]"#, "empty `id`"),
            (r#"[{"id":"a","id":"b"}]"#, "`id` twice"),
            (r#"[{"id":"a"},{"id":"a"}]"#, "item 1 has the `id` of another one"),
            (r#"[{"id":"a"},{"id":"\u0061"}]"#, "of another one"),
            ("{}", "without `objects`"),
            (r#"{"code":"X","message":"y"}"#, "without `objects`"),
            (r#"{"objects":{}}"#, "not an array"),
            (r#"{"objects":[],"objects":[]}"#, "twice"),
            (r#"{"objects":[]}{"#, "more than one"),
            (r#"[{"id":"a","x":tru,"yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy":1}]"#, "not valid JSON"),
            (r#"[{"id":"a" "x":1,"yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy":1}]"#, "not valid JSON"),
        ] {
            let error = read(body.as_bytes(), None, &[]).unwrap_err();
            assert!(error.contains(words), "{body}: {error}");
            assert!(read(body.as_bytes(), Some(&["name"]), &[]).is_err(), "{body}");
        }
        let deep = format!(r#"[{{"id":"a","x":{}{}}}]"#, "[".repeat(5000), "]".repeat(5000));
        assert!(read(deep.as_bytes(), None, &[]).is_err());
    }

    #[test]
    fn a_long_object_in_small_pieces_is_read_few_times() {
        let long = format!(r#"[{{"id":"a","x":[{}1]}}]"#, "1,".repeat(2_000_000));
        let pieces = vec![64; long.len() / 64];
        assert_eq!(read(long.as_bytes(), Some(&[]), &pieces).unwrap().len(), 1);
    }
}
