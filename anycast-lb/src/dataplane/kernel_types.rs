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
const KIND_UNION: u32 = 5;

/// Structures inside structures that are looked into.
const MOST_NESTED: u32 = 8;

/// The offsets, in bytes, of fields (the second words) in structures (the first ones) of the running
/// kernel, also where they lie in a structure or union inside; `None` where the kernel does not tell.
pub(super) fn offsets_in_kernel<const N: usize>(wanted: [(&str, &str); N]) -> [Option<u32>; N] {
    let btf = std::fs::read(Path::new(KERNEL_BTF)).unwrap_or_default();
    let types = Types::of(&btf);
    wanted.map(|(structure, field)| types.as_ref()?.offset_in(structure, field))
}

/// All types of a kernel.
struct Types<'a> {
    btf: &'a [u8],
    /// Where the names lie.
    strings: usize,
    /// Where each type lies; the first one has the number 1.
    starts: Vec<usize>,
}

impl<'a> Types<'a> {
    fn of(btf: &'a [u8]) -> Option<Self> {
        if u16::from_ne_bytes(btf.get(MAGIC_OFFSET..2)?.try_into().ok()?) != MAGIC {
            return None;
        }
        let header = word(btf, HEADER_LEN)? as usize;
        let mut at = header + word(btf, TYPES_OFFSET)? as usize;
        let end = at + word(btf, TYPES_LEN)? as usize;
        let strings = header + word(btf, STRINGS_OFFSET)? as usize;
        let mut types = Types { btf, strings, starts: Vec::new() };
        while at < end {
            types.starts.push(at);
            let info = types.info(at)?;
            at += TYPE_LEN + following(kind(info), count(info))?;
        }
        Some(types)
    }

    /// The offset, in bytes, of a field of a structure or of what lies inside it.
    fn offset_in(&self, structure: &str, field: &str) -> Option<u32> {
        let is_wanted =
            |at: &&usize| self.info(**at).map(kind) == Some(KIND_STRUCT) && self.is_named(**at, structure);
        let at = *self.starts.iter().find(is_wanted)?;
        Some(self.offset(at, field, MOST_NESTED)? / 8)
    }

    /// Kind, number of members and a flag of the type at `at`.
    fn info(&self, at: usize) -> Option<u32> {
        word(self.btf, at + 4)
    }

    /// Whether the type or member at `at` has this name.
    fn is_named(&self, at: usize, wanted: &str) -> bool {
        let name = word(self.btf, at).unwrap_or_default() as usize;
        let text = self.btf.get(self.strings + name..).unwrap_or_default();
        text.strip_prefix(wanted.as_bytes()).is_some_and(|rest| rest.first() == Some(&0))
    }

    /// The offset, in bits, of a member of the structure or union at `at`, or of one that lies inside.
    fn offset(&self, at: usize, field: &str, nested: u32) -> Option<u32> {
        let info = self.info(at)?;
        if !matches!(kind(info), KIND_STRUCT | KIND_UNION) {
            return None;
        }
        // With the top bit set, a member's upper 8 bits are the width of a bit field.
        let mask = if info >> 31 == 0 { u32::MAX } else { 0x00ff_ffff };
        let members = || (0..count(info)).map(|i| at + TYPE_LEN + i * MEMBER_LEN);
        let bits = |member: usize| Some(word(self.btf, member + 8)? & mask);
        if let Some(member) = members().find(|member| self.is_named(*member, field)) {
            return bits(member);
        }
        let nested = nested.checked_sub(1)?;
        members().find_map(|member| {
            let number = word(self.btf, member + 4)? as usize;
            let inside = self.offset(*self.starts.get(number.checked_sub(1)?)?, field, nested)?;
            Some(bits(member)? + inside)
        })
    }
}

fn kind(info: u32) -> u32 {
    (info >> 24) & 0x1f
}

fn count(info: u32) -> usize {
    (info & 0xffff) as usize
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
        KIND_STRUCT | KIND_UNION | 15 | 19 => count * 12,
        _ => return None,
    })
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header, an integer, `struct pair { int first; int second; }`, and
    /// `struct both { int own; union { struct pair inner; }; }`.
    fn small() -> Vec<u8> {
        let strings = b"\0int\0pair\0first\0second\0both\0own\0inner\0";
        let info = |kind: u32, count: u32| kind << 24 | count;
        let integer = [1, info(1, 0), 4, 32];
        let pair = [5, info(4, 2), 8, 10, 1, 0, 16, 1, 32];
        let union = [0, info(5, 1), 8, 32, 2, 0];
        let both = [23, info(4, 2), 12, 28, 1, 0, 0, 3, 32];
        let types = [&integer[..], &pair, &union, &both].concat();
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

    fn offset_in(btf: &[u8], structure: &str, field: &str) -> Option<u32> {
        Types::of(btf)?.offset_in(structure, field)
    }

    #[test]
    fn fields_are_found_and_others_are_not() {
        let btf = small();
        assert_eq!(offset_in(&btf, "pair", "first"), Some(0));
        assert_eq!(offset_in(&btf, "pair", "second"), Some(4));
        assert_eq!(offset_in(&btf, "both", "second"), Some(8));
        assert_eq!(offset_in(&btf, "pair", "own"), None);
        assert_eq!(offset_in(&btf, "pair", "secon"), None);
        assert_eq!(offset_in(&btf, "int", "first"), None);
        for cut in 0..btf.len() {
            offset_in(&btf[..cut], "both", "second");
        }
    }

    #[test]
    fn the_running_kernel_tells_where_sequence_numbers_are() {
        let fields = ["snt_isn", "skc_tw_rcv_nxt", "skc_tw_snd_nxt", "no_such_field"];
        let structures = ["tcp_request_sock", "tcp_timewait_sock", "tcp_timewait_sock", "tcp_timewait_sock"];
        let offsets = offsets_in_kernel(std::array::from_fn::<_, 4, _>(|i| (structures[i], fields[i])));
        let [Some(isn), Some(received), Some(sent), None] = offsets else { panic!("{offsets:?}") };
        assert!([isn, received, sent].iter().all(|offset| *offset > 0 && offset.is_multiple_of(4)));
        assert!(received < sent, "{offsets:?}");
    }
}
