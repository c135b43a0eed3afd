//! The fuzz targets' properties over their seeds and over random changes to them, from a fixed seed.
//! `make fuzz` looks further.

// A test may panic; that is how it fails.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../fuzz/properties.rs"]
mod properties;

use std::fs;
use std::path::Path;

/// Changed seeds per target.
const ROUNDS: usize = 20_000;

/// Marsaglia's xorshift64: the same sequence everywhere.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }
}

/// One to four small changes: a byte, a cut, a repetition, another seed's piece.
fn changed(seeds: &[Vec<u8>], chance: &mut Chance) -> Vec<u8> {
    let mut data = seeds[chance.below(seeds.len())].clone();
    for _ in 0..=chance.below(4) {
        let at = chance.below(data.len() + 1);
        let until = at + chance.below(data.len() - at + 1);
        match chance.below(6) {
            0 => data.insert(at, chance.below(256) as u8),
            1 if at < data.len() => data[at] ^= 1 << chance.below(8),
            2 => drop(data.drain(at..until)),
            3 => {
                let piece = data[at..until].repeat(1 + chance.below(4));
                data.splice(at..at, piece);
            }
            4 => {
                let other = &seeds[chance.below(seeds.len())];
                let from = chance.below(other.len() + 1);
                data.splice(at..until, other[from..].iter().copied());
            }
            _ => {
                let signs =
                    [b'"', b'\\', b'{', b'[', b':', b'.', b'%', b'/', b'0', b' ', b'&', b';', 0xc3, 0xf5, 0xf8, 0xfe];
                data.insert(at, signs[chance.below(signs.len())]);
            }
        }
    }
    data
}

fn run(target: &str, property: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let seeds: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).unwrap()).collect();
    assert!(seeds.len() >= 5, "the seeds of {target} are missing");
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    let tried = seeds.iter().cloned().chain(std::iter::repeat_with(|| changed(&seeds, &mut chance)).take(ROUNDS));
    for data in tried.chain([Vec::new()]) {
        if std::panic::catch_unwind(|| property(&data)).is_err() {
            // As a literal: it can become a seed as it stands.
            panic!("{target} fails for b\"{}\"", data.escape_ascii());
        }
    }
}

#[test]
fn host() {
    run("host", properties::host);
}

#[test]
fn id() {
    run("id", properties::id);
}

#[test]
fn answer() {
    run("answer", properties::answer);
}

#[test]
fn start() {
    run("start", properties::start);
}

#[test]
fn search() {
    run("search", properties::search);
}

#[test]
fn error_body() {
    run("error_body", properties::error_body);
}

#[test]
fn retry_after() {
    run("retry_after", properties::retry_after);
}

#[test]
fn certificate() {
    run("certificate", properties::certificate);
}
