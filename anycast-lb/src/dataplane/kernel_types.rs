//! Where a field of one of the kernel's own structures lies, from its type information (BTF, the
//! kernel's Documentation/bpf/btf.rst).

use std::path::Path;

/// Type information of the running kernel.
pub(super) const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";

const MAGIC: u16 = 0xeb9f;
const MAGIC_OFFSET: usize = 0;
/// Offsets of the header's 32-bit fields.
const HEADER_LEN: usize = 4;
const TYPES_OFFSET: usize = 8;
const TYPES_LEN: usize = 12;
const STRINGS_OFFSET: usize = 16;
/// Bytes of a type without what follows it: name, info, size or type.
const TYPE_LEN: usize = 12;
/// Bytes of a member of a structure: name, type, offset in bits.
const MEMBER_LEN: usize = 12;

/// Kinds of types that matter here.
const KIND_STRUCT: u32 = 4;

/// The offset, in bytes, of `field` in `structure` in the running kernel; `None` where the kernel
/// does not tell.
pub(super) fn offset_in_kernel(structure: &str, field: &str) -> Option<u32> {
    offset_in(&std::fs::read(Path::new(KERNEL_BTF)).ok()?, structure, field)
}

fn offset_in(btf: &[u8], structure: &str, field: &str) -> Option<u32> {
    if u16::from_ne_bytes(btf.get(MAGIC_OFFSET..2)?.try_into().ok()?) != MAGIC {
        return None;
    }
    let header = word(btf, HEADER_LEN)? as usize;
    let types = header + word(btf, TYPES_OFFSET)? as usize;
    let end = types + word(btf, TYPES_LEN)? as usize;
    let strings = header + word(btf, STRINGS_OFFSET)? as usize;
    let is_named = |name: u32, wanted: &str| {
        let text = btf.get(strings + name as usize..).unwrap_or_default();
        text.strip_prefix(wanted.as_bytes()).is_some_and(|rest| rest.first() == Some(&0))
    };

    let mut at = types;
    while at < end {
        let (name, info) = (word(btf, at)?, word(btf, at + 4)?);
        let (kind, count) = ((info >> 24) & 0x1f, (info & 0xffff) as usize);
        // With the top bit set, a member's upper 8 bits are the width of a bit field.
        let offset_mask = if info >> 31 == 0 { u32::MAX } else { 0x00ff_ffff };
        at += TYPE_LEN;
        if kind == KIND_STRUCT && is_named(name, structure) {
            for i in 0..count {
                let member = at + i * MEMBER_LEN;
                if is_named(word(btf, member)?, field) {
                    return Some((word(btf, member + 8)? & offset_mask) / 8);
                }
            }
        }
        at += following(kind, count)?;
    }
    None
}

/// Bytes that follow a type of this kind with `count` members, parameters or values.
fn following(kind: u32, count: usize) -> Option<usize> {
    Some(match kind {
        // Pointer, forward, typedef, volatile, const, restrict, function, float, type tag.
        2 | 7..=12 | 16 | 18 => 0,
        // Integer, variable, declaration tag.
        1 | 14 | 17 => 4,
        // Array.
        3 => 12,
        // Enumeration, function prototype.
        6 | 13 => count * 8,
        // Structure, union, data section, 64-bit enumeration.
        KIND_STRUCT | 5 | 15 | 19 => count * 12,
        _ => return None,
    })
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header, an integer, and `struct pair { int first; int second; }`.
    fn small() -> Vec<u8> {
        let strings = b"\0int\0pair\0first\0second\0";
        let info = |kind: u32, count: u32| kind << 24 | count;
        let types = [1, info(1, 0), 4, 32, 5, info(4, 2), 8, 10, 1, 0, 16, 1, 32];
        let types: Vec<u8> = types.iter().flat_map(|w: &u32| w.to_ne_bytes()).collect();
        let mut btf = MAGIC.to_ne_bytes().to_vec();
        btf.extend([1, 0]);
        for w in [24, 0, types.len(), types.len(), strings.len()] {
            btf.extend((w as u32).to_ne_bytes());
        }
        btf.extend(types);
        btf.extend(strings);
        btf
    }

    #[test]
    fn fields_are_found_and_others_are_not() {
        let btf = small();
        assert_eq!(offset_in(&btf, "pair", "first"), Some(0));
        assert_eq!(offset_in(&btf, "pair", "second"), Some(4));
        assert_eq!(offset_in(&btf, "pair", "secon"), None);
        assert_eq!(offset_in(&btf, "int", "first"), None);
        for cut in 0..btf.len() {
            offset_in(&btf[..cut], "pair", "second");
        }
    }

    #[test]
    fn the_running_kernel_tells_where_the_sequence_number_is() {
        let offset = offset_in_kernel("tcp_request_sock", "snt_isn").expect("a kernel with BTF");
        assert!(offset > 0 && offset.is_multiple_of(4), "{offset}");
    }
}
