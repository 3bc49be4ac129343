//! Just enough ELF to name the sections of an object.

use anyhow::{Context, Result, ensure};

// Offsets and sizes of the 64-bit format: ELF-64 Object File Format, version 1.5.
const MAGIC: &[u8] = b"\x7fELF\x02\x01";
const E_SHOFF: usize = 40;
const E_SHENTSIZE: usize = 58;
const E_SHNUM: usize = 60;
const E_SHSTRNDX: usize = 62;
const SH_OFFSET: usize = 24;

/// Names of the sections of a little-endian 64-bit ELF file.
///
/// # Errors
///
/// When it is not such a file, or ends too soon.
pub fn section_names(file: &[u8]) -> Result<Vec<String>> {
    ensure!(file.starts_with(MAGIC), "not a little-endian 64-bit ELF file");
    let table = number::<8>(file, E_SHOFF)?;
    let entry_size = number::<2>(file, E_SHENTSIZE)?;
    let count = number::<2>(file, E_SHNUM)?;
    let entry = |index: usize| index.checked_mul(entry_size)?.checked_add(table);
    let names_entry = entry(number::<2>(file, E_SHSTRNDX)?).context(TOO_SHORT)?;
    let names = number::<8>(file, names_entry.checked_add(SH_OFFSET).context(TOO_SHORT)?)?;
    (0..count)
        .map(|index| {
            let name = number::<4>(file, entry(index).context(TOO_SHORT)?)?;
            let bytes = names.checked_add(name).and_then(|start| file.get(start..)).context(TOO_SHORT)?;
            let end = bytes.iter().position(|byte| *byte == 0).context(TOO_SHORT)?;
            Ok(String::from_utf8_lossy(&bytes[..end]).into_owned())
        })
        .collect()
}

const TOO_SHORT: &str = "the ELF file ends too soon";

/// The little-endian number of `N` bytes at `offset`.
fn number<const N: usize>(file: &[u8], offset: usize) -> Result<usize> {
    let bytes = file.get(offset..).and_then(|rest| rest.get(..N)).context(TOO_SHORT)?;
    let mut word = [0; 8];
    word[..N].copy_from_slice(bytes);
    usize::try_from(u64::from_le_bytes(word)).context(TOO_SHORT)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const HEADER: usize = 64;
    const ENTRY: usize = 64;

    /// An object of nothing but section headers and their names.
    pub(crate) fn object_with_sections(sections: &[&str]) -> Vec<u8> {
        let mut names = vec![0];
        let mut table = vec![0; ENTRY];
        let strings = HEADER + ENTRY * (sections.len() + 2);
        for name in sections.iter().copied().chain([".shstrtab"]) {
            let mut entry = [0; ENTRY];
            entry[..4].copy_from_slice(&(names.len() as u32).to_le_bytes());
            entry[SH_OFFSET..SH_OFFSET + 8].copy_from_slice(&(strings as u64).to_le_bytes());
            table.extend(entry);
            names.extend(name.bytes().chain([0]));
        }
        let mut file = vec![0; HEADER];
        file[..MAGIC.len()].copy_from_slice(MAGIC);
        file[E_SHOFF..E_SHOFF + 8].copy_from_slice(&(HEADER as u64).to_le_bytes());
        file[E_SHENTSIZE..E_SHENTSIZE + 2].copy_from_slice(&(ENTRY as u16).to_le_bytes());
        file[E_SHNUM..E_SHNUM + 2].copy_from_slice(&(sections.len() as u16 + 2).to_le_bytes());
        file[E_SHSTRNDX..E_SHSTRNDX + 2].copy_from_slice(&(sections.len() as u16 + 1).to_le_bytes());
        file.extend(table);
        file.extend(names);
        file
    }

    #[test]
    fn sections_are_named() {
        let file = object_with_sections(&["xdp", "license"]);
        // Entry 0 is always empty: its name is the empty string at the start of the names.
        let names = section_names(&file).unwrap();
        assert_eq!(names.len(), 4);
        assert_eq!(names[1..], ["xdp", "license", ".shstrtab"]);
    }

    #[test]
    fn a_file_cut_short_is_an_error_and_no_panic() {
        let file = object_with_sections(&["xdp", "license"]);
        for length in 0..file.len() {
            assert!(section_names(&file[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn something_else_is_refused() {
        assert!(section_names(b"#!/bin/sh\n").is_err());
    }
}
