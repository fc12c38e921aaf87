//! Files that `cais pack` looks into: ELF, the loader's cache, scripts, notes, accounts.
#![no_main]

use cais_image::pack::accounts::{Wanted, choose_accounts};
use cais_image::pack::elf::parse_elf;
use cais_image::pack::ld_cache::{parse_cache, write_cache};
use cais_image::pack::notes::parse_note;
use cais_image::pack::script::parse_shebang;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(elf) = parse_elf(bytes) {
        for note in &elf.dlopen_notes {
            parse_note(note);
        }
    }
    if let Some(cache) = parse_cache(bytes) {
        let libraries: Vec<_> = cache
            .iter()
            .map(|(name, found)| (name.clone(), found.clone()))
            .collect();
        let written = write_cache(&libraries).expect("it was read from less");
        assert_eq!(parse_cache(&written).map(|again| again.len()), Some(cache.len()));
    }
    parse_shebang(bytes);
    parse_note(bytes);
    let (users, groups) = choose_accounts(bytes, bytes, &Wanted::default());
    assert_eq!(choose_accounts(&users, &groups, &Wanted::default()).0, users);
});
