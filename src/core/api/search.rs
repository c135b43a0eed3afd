//! `POST /node/api/objects/search`, the vendor's "Search Objects" → the objects, one after the other. An answer has no pages,
//! and can have a hundred megabytes.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use reqwest::Method;
use serde_json::value::RawValue;

use crate::core::transport::body::{BODY_LIMIT, Fields};
use crate::core::transport::call::{About, Call, Reader, StreamReader};

/// What becomes of the objects.
pub trait Sink: Default + Send {
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
pub fn call<S: Sink + 'static>(body: Vec<u8>, fields: Option<HashSet<String>>) -> Call<Found<S>> {
    let fields = fields.map(Arc::new);
    Call {
        about: About::Search,
        method: Method::POST,
        path: "/node/api/objects/search".to_owned(),
        body,
        is_repeatable: true,
        read: Reader::Stream(Arc::new(move || Box::new(Objects::<S> { fields: fields.clone(), ..Objects::default() }))),
    }
}

/// Takes the objects out of an answer as it comes. The answer is an array of them, or an object whose field `objects` is that array,
/// an older form. The rest of it, the outline, is read at the end.
#[derive(Default)]
struct Objects<S> {
    fields: Option<Arc<HashSet<String>>>,
    sink: S,
    /// The answer with a 0 in the place of each object.
    outline: Vec<u8>,
    /// Of the outline. Whether each bracket is closed by its own kind is seen when the outline is read.
    open_brackets: usize,
    is_in_string: bool,
    is_escaped: bool,
    /// The brackets that are open between the objects, from the beginning of the array to its end.
    array: Option<usize>,
    has_array: bool,
    /// Bytes of the outline before and after the array.
    outside: usize,
    /// What is not read yet: the beginning of an object.
    rest: Vec<u8>,
    /// The length of the rest at which it is read again. It doubles, so that a long object is not read for each of its pieces.
    enough: usize,
    ids: HashSet<Box<str>>,
    /// The objects of this piece, as a JSON array.
    taken: Vec<u8>,
}

impl<S: Sink> Objects<S> {
    /// Reads what is complete of a text; returns how much that is.
    fn read(&mut self, text: &[u8]) -> Result<usize, String> {
        let mut used = 0;
        while let Some(byte) = text.get(used) {
            if *byte == b'{' && self.array == Some(self.open_brackets) {
                let Some(length) = self.object(text.get(used..).unwrap_or_default())? else { break };
                self.outline.push(b'0');
                used += length;
            } else {
                self.step(*byte)?;
                used += 1;
            }
        }
        Ok(used)
    }

    /// Takes a byte of the outline.
    fn step(&mut self, byte: u8) -> Result<(), String> {
        let (is_first, is_between) = (self.outline.is_empty(), self.array == Some(self.open_brackets));
        match byte {
            _ if self.is_escaped => self.is_escaped = false,
            b'\\' if self.is_in_string => self.is_escaped = true,
            b'"' if self.is_in_string => self.is_in_string = false,
            _ if self.is_in_string => {}
            b' ' | b'\t' | b'\r' | b'\n' if is_first => return Ok(()),
            b' ' | b'\t' | b'\r' | b'\n' => {}
            _ if is_first && !matches!(byte, b'[' | b'{') => {
                return Err("a body that is no JSON array of objects".to_owned());
            }
            _ if self.open_brackets == 0 && !is_first => return Err("more than one JSON value".to_owned()),
            _ if is_between && !matches!(byte, b',' | b']') => {
                return Err(format!("an array whose item {} is not an object", self.ids.len()));
            }
            b'"' => self.is_in_string = true,
            b'[' | b'{' => {
                self.open_brackets += 1;
                if byte == b'[' && (is_first || self.open_brackets == 2 && self.is_after_objects()) {
                    if self.has_array {
                        return Err("an object with `objects` twice".to_owned());
                    }
                    (self.has_array, self.array) = (true, Some(self.open_brackets));
                }
            }
            b']' | b'}' => {
                self.open_brackets -= 1;
                self.array = self.array.filter(|_| !is_between);
            }
            _ => {}
        }
        self.outline.push(byte);
        self.outside += usize::from(self.array.is_none());
        if self.outside > BODY_LIMIT {
            return Err(format!("more than {} KiB beside the array of its objects", BODY_LIMIT >> 10));
        }
        Ok(())
    }

    /// Whether the outline ends in `"objects":`, and not in the end of a longer name.
    fn is_after_objects(&self) -> bool {
        let name = self.outline.trim_ascii_end().strip_suffix(b":").map(<[u8]>::trim_ascii_end);
        name.and_then(|name| name.strip_suffix(b"\"objects\"")).is_some_and(|before| !before.ends_with(b"\\"))
    }

    /// Takes the object that a text begins with; returns its length, and None if it goes on in the next piece.
    fn object(&mut self, text: &[u8]) -> Result<Option<usize>, String> {
        let Self { fields: kept, ids, taken, .. } = self;
        let place = ids.len();
        let wrong = |what: &str| format!("an array whose item {place} {what}");
        let mut values = serde_json::Deserializer::from_slice(text).into_iter::<Fields<&RawValue>>();
        let fields = match values.next() {
            Some(Ok(Fields(fields))) => fields,
            // A number that ends in its middle is not told as an end.
            Some(Err(error)) if !error.is_eof() && !matches!(text.last(), Some(b'-' | b'+' | b'.' | b'e' | b'E')) => {
                return Err(wrong(&format!("is not valid JSON: {error}")));
            }
            Some(Err(_)) | None => return Ok(None),
        };
        let object = text.get(..values.byte_offset()).unwrap_or_default();
        let mut found = fields.iter().filter(|(name, _)| name == "id").map(|(_, value)| value);
        let id = match (found.next(), found.next()) {
            (None, _) => return Err(wrong("has no `id`")),
            (_, Some(_)) => return Err(wrong("has its `id` twice")),
            (Some(id), None) => serde_json::from_str::<Box<str>>(id.get()),
        };
        let id = id.map_err(|_| wrong("has an `id` that is not a string"))?;
        if id.is_empty() {
            return Err(wrong("has an empty `id`"));
        }
        if !ids.insert(id) {
            return Err(wrong("has the `id` of another one"));
        }
        taken.push(if taken.is_empty() { b'[' } else { b',' });
        match kept {
            None => taken.extend_from_slice(object),
            Some(names) => {
                let kept = fields.iter().filter(|(name, _)| name == "id" || names.contains(name));
                for (place, (name, value)) in kept.enumerate() {
                    taken.push(if place == 0 { b'{' } else { b',' });
                    // A Vec takes whatever is written.
                    let _ = serde_json::to_writer(&mut *taken, name);
                    taken.push(b':');
                    taken.extend_from_slice(value.get().as_bytes());
                }
                taken.push(b'}');
            }
        }
        Ok(Some(object.len()))
    }
}

impl<S: Sink> StreamReader<Found<S>> for Objects<S> {
    fn feed(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.rest.extend_from_slice(bytes);
        if self.rest.len() < self.enough {
            return Ok(());
        }
        let mut rest = std::mem::take(&mut self.rest);
        rest.drain(..self.read(&rest)?);
        (self.enough, self.rest) = (2 * rest.len(), rest);
        if self.taken.is_empty() {
            return Ok(());
        }
        self.taken.push(b']');
        let done = self.sink.take(&self.taken);
        self.taken.clear();
        done
    }

    fn finish(mut self: Box<Self>) -> Result<Found<S>, String> {
        self.enough = 0;
        self.feed(&[])?;
        let (outline, count) = (self.outline, self.ids.len());
        if outline.is_empty() {
            return Err("an empty body".to_owned());
        }
        if self.open_brackets > 0 {
            return Err(format!("a JSON array that is not complete; it ends after {count} objects"));
        }
        if outline.starts_with(b"[") {
            serde_json::from_slice::<&RawValue>(&outline)
                .map_err(|_| "an array that is not valid JSON between its objects")?;
        } else {
            let Fields(fields) = serde_json::from_slice::<Fields<&RawValue>>(&outline)
                .map_err(|error| format!("an object that is not valid JSON beside its objects: {error}"))?;
            let mut objects = fields.iter().filter(|(name, _)| name == "objects").map(|(_, value)| value.get());
            match (objects.next(), objects.next()) {
                (Some(array), None) if array.starts_with('[') && self.has_array => {}
                (Some(_), Some(_)) => return Err("an object with `objects` twice".to_owned()),
                (Some(other), None) if !other.starts_with('[') => {
                    return Err("an `objects` that is not an array".to_owned());
                }
                _ => return Err("an object without `objects`".to_owned()),
            }
        }
        Ok(Found { count, objects: self.sink })
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
        let mut reader = Box::new(Objects::<Kept> { fields, ..Objects::default() });
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
            (r#"[{"id":"a"}{"id":"b"}]"#, "between its objects"),
            (r#"[{"id":"a"},]"#, "between its objects"),
            (r#"[,{"id":"a"}]"#, "between its objects"),
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
