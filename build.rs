//! On Linux with glibc, the unwinder goes into the extension: loading libgcc_s for it takes a sixth of the import.

use std::path::Path;
use std::{env, fs};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    let is = |variable, value| env::var(variable).is_ok_and(|found| found == value);
    if is("CARGO_CFG_TARGET_OS", "linux") && is("CARGO_CFG_TARGET_ENV", "gnu") {
        // std asks for -lgcc_s; a linker script of that name gives it the static half of the same library.
        let folder = env::var("OUT_DIR")?;
        fs::write(Path::new(&folder).join("libgcc_s.so"), "INPUT(-lgcc_eh -lgcc)")?;
        println!("cargo::rustc-link-search=native={folder}");
    }
    Ok(())
}
