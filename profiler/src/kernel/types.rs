//! Offsets of members of the running kernel's structures, from its BTF.
//!
//! aya's reader builds all 130,000 types, which takes longer than the rest of attaching; this one searches for a few.
//! Layout: Documentation/bpf/btf.rst.

use std::{collections::BTreeMap, fs, io};

/// The types of the running kernel.
const KERNEL: &str = "/sys/kernel/btf/vmlinux";
const MAGIC: u16 = 0xeb9f;
/// Levels of nested structures that are searched.
const MAX_NESTING: u32 = 8;

const INT: u32 = 1;
const ARRAY: u32 = 3;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
const ENUM: u32 = 6;
const TYPEDEF: u32 = 8;
const VOLATILE: u32 = 9;
const CONST: u32 = 10;
const FUNC: u32 = 12;
const FUNC_PROTO: u32 = 13;
const VAR: u32 = 14;
const DATASEC: u32 = 15;
const DECL_TAG: u32 = 17;
const ENUM64: u32 = 19;

/// A setting of the kernel side by its name, and the member of a kernel structure whose offset it is.
pub(crate) type Member = (&'static str, &'static str, &'static [&'static str]);

/// All types of a kernel.
#[derive(Debug)]
pub(crate) struct Types {
    bytes: Vec<u8>,
    /// Offset of each type in `bytes`, by number. Type 0 is `void` and has no bytes.
    starts: Vec<usize>,
    strings: usize,
}

impl Types {
    /// Those of the running kernel.
    pub(crate) fn of_kernel() -> io::Result<Types> {
        Self::parse(fs::read(KERNEL)?).ok_or_else(|| io::Error::other(format!("{KERNEL} is not BTF")))
    }

    fn parse(bytes: Vec<u8>) -> Option<Types> {
        let mut types = Types { bytes, starts: vec![usize::MAX], strings: 0 };
        if types.word(0)? & 0xffff != u32::from(MAGIC) {
            return None;
        }
        let header = types.word(4)? as usize;
        let mut at = header.checked_add(types.word(8)? as usize)?;
        let end = at.checked_add(types.word(12)? as usize)?;
        types.strings = header.checked_add(types.word(16)? as usize)?;
        while at < end {
            types.starts.push(at);
            let info = types.word(at + 4)?;
            let count = (info & 0xffff) as usize;
            at += 12
                + match info >> 24 & 0x1f {
                    INT | VAR | DECL_TAG => 4,
                    ARRAY => 12,
                    STRUCT | UNION | DATASEC | ENUM64 => 12 * count,
                    ENUM | FUNC_PROTO => 8 * count,
                    _ => 0,
                };
        }
        Some(types)
    }

    fn word(&self, at: usize) -> Option<u32> {
        Some(u32::from_le_bytes(self.bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
    }

    /// Whether the string at an offset is this one.
    fn is_named(&self, offset: u32, name: &str) -> bool {
        let from = self.strings.saturating_add(offset as usize);
        let behind = self.bytes.get(from..).unwrap_or_default();
        behind.starts_with(name.as_bytes()) && behind.get(name.len()) == Some(&0)
    }

    /// The number of a tracepoint's type, by the tracepoint's name.
    pub(crate) fn tracepoint(&self, name: &str) -> Option<u32> {
        self.number(TYPEDEF, &format!("btf_trace_{name}"))
    }

    /// Whether a tracepoint of this name has an argument of this name.
    pub(crate) fn has_argument(&self, tracepoint: &str, argument: &str) -> bool {
        let found = || {
            let function = self.starts.get(self.function(&format!("__bpf_trace_{tracepoint}"))? as usize)?;
            let prototype = *self.starts.get(self.word(function + 8)? as usize)?;
            let count = (self.word(prototype + 4)? & 0xffff) as usize;
            let named = |number: usize| {
                self.word(prototype + 12 + 8 * number).is_some_and(|offset| self.is_named(offset, argument))
            };
            Some((0..count).any(named))
        };
        found().unwrap_or(false)
    }

    fn number(&self, kind: u32, name: &str) -> Option<u32> {
        let named = |at: &usize| {
            self.word(*at + 4).is_some_and(|info| info >> 24 & 0x1f == kind)
                && self.word(*at).is_some_and(|offset| self.is_named(offset, name))
        };
        self.starts.iter().skip(1).position(named).map(|index| index as u32 + 1)
    }

    /// The number of a structure's type.
    pub(crate) fn structure(&self, name: &str) -> Option<u32> {
        self.number(STRUCT, name)
    }

    /// The number of a function's type.
    pub(crate) fn function(&self, name: &str) -> Option<u32> {
        self.number(FUNC, name)
    }

    /// Offset in bytes of a member of a structure. A path of several names goes on into that member's structure. `None`
    /// if this kernel has no such member.
    pub(crate) fn offset(&self, structure: &str, path: &[&str]) -> Option<u64> {
        self.offsets(&[(structure, path)]).pop().flatten()
    }

    /// Offset in bits of a member of a structure, which may begin within a byte. `None` if this kernel has no such member.
    pub(crate) fn bits(&self, structure: &str, member: &str) -> Option<u64> {
        self.in_bits(&[(structure, &[member])]).pop().flatten()
    }

    /// Settings of the kernel side by their names, with the offsets of the members that they stand for.
    ///
    /// # Errors
    /// If this kernel lacks a member, which is named.
    pub(crate) fn globals(&self, members: &[Member]) -> io::Result<Vec<(&'static str, [u8; 8])>> {
        let wanted: Vec<_> = members.iter().map(|(_, structure, path)| (*structure, *path)).collect();
        let global = |((name, structure, path), offset): (&Member, Option<u64>)| {
            let missing = || io::Error::other(format!("this kernel has no {structure}.{}", path.join(".")));
            Ok((*name, offset.ok_or_else(missing)?.to_ne_bytes()))
        };
        members.iter().zip(self.offsets(&wanted)).map(global).collect()
    }

    /// The offsets of several members, in one search.
    fn offsets(&self, wanted: &[(&str, &[&str])]) -> Vec<Option<u64>> {
        self.in_bits(wanted).into_iter().map(|bits| Some(bits? / 8)).collect()
    }

    fn in_bits(&self, wanted: &[(&str, &[&str])]) -> Vec<Option<u64>> {
        let mut found = vec![None; wanted.len()];
        let mut left = wanted.len();
        for at in self.starts.iter().skip(1) {
            if self.word(at + 4).is_none_or(|info| info >> 24 & 0x1f != STRUCT) {
                continue;
            }
            let Some(name) = self.word(*at) else { continue };
            for ((structure, path), offset) in wanted.iter().zip(&mut found) {
                if offset.is_none() && self.is_named(name, structure) {
                    *offset = self.member(*at, path, MAX_NESTING);
                    left -= usize::from(offset.is_some());
                }
            }
            if left == 0 {
                break;
            }
        }
        found
    }

    /// Offset in `bytes` of a type, behind `const`, `volatile` and `typedef`.
    fn plain(&self, mut number: u32) -> Option<usize> {
        for _ in 0..MAX_NESTING {
            let at = self.starts.get(number as usize).copied()?;
            match self.word(at + 4)? >> 24 & 0x1f {
                TYPEDEF | VOLATILE | CONST => number = self.word(at + 8)?,
                _ => return Some(at),
            }
        }
        None
    }

    fn member(&self, structure: usize, path: &[&str], nesting: u32) -> Option<u64> {
        let (first, rest) = path.split_first()?;
        let info = self.word(structure + 4)?;
        if !matches!(info >> 24 & 0x1f, STRUCT | UNION) || nesting == 0 {
            return None;
        }
        let has_bit_sizes = info >> 31 != 0;
        (0..(info & 0xffff) as usize).find_map(|number| {
            let at = structure + 12 + 12 * number;
            let (name, kind, place) = (self.word(at)?, self.word(at + 4)?, self.word(at + 8)?);
            let bits = if has_bit_sizes { place & 0x00ff_ffff } else { place };
            let inside = || self.plain(kind);
            let further = if self.is_named(name, first) {
                if rest.is_empty() { 0 } else { self.member(inside()?, rest, nesting - 1)? }
            } else if self.is_named(name, "") {
                self.member(inside()?, path, nesting - 1)?
            } else {
                return None;
            };
            Some(u64::from(bits) + further)
        })
    }

    /// The names of an enumeration's values, without this beginning, by value. Empty if there is no such enumeration.
    pub(crate) fn enumerators(&self, name: &str, beginning: &str) -> BTreeMap<u32, String> {
        let Some(at) = self.number(ENUM, name).and_then(|number| self.starts.get(number as usize).copied())
        else {
            return BTreeMap::new();
        };
        let count = self.word(at + 4).map_or(0, |info| (info & 0xffff) as usize);
        let enumerator = |number: usize| {
            let at = at + 12 + 8 * number;
            let name = self.string(self.word(at)?)?;
            Some((self.word(at + 4)?, name.strip_prefix(beginning).unwrap_or(&name).to_owned()))
        };
        (0..count).filter_map(enumerator).collect()
    }

    /// The string at an offset.
    fn string(&self, offset: u32) -> Option<String> {
        let behind = self.bytes.get(self.strings.checked_add(offset as usize)?..)?;
        let end = behind.iter().position(|byte| *byte == 0)?;
        Some(String::from_utf8_lossy(behind.get(..end)?).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `struct outer { long first; struct { struct inner { long a, b; } nested; }; }`
    fn made() -> Vec<u8> {
        let strings = b"\0outer\0first\0inner\0a\0b\0nested\0";
        let name = |name: &str| {
            let text = [b"\0", name.as_bytes(), b"\0"].concat();
            strings.windows(text.len()).position(|w| w == text).unwrap() as u32 + 1
        };
        let head = |name: u32, kind: u32, count: u32, size: u32| vec![name, kind << 24 | count, size];
        let types = [
            [head(0, INT, 0, 8), vec![64]].concat(),
            [head(name("inner"), STRUCT, 2, 16), vec![name("a"), 1, 0, name("b"), 1, 64]].concat(),
            [head(0, UNION, 1, 16), vec![name("nested"), 2, 0]].concat(),
            [head(name("outer"), STRUCT, 2, 24), vec![name("first"), 1, 0, 0, 3, 64]].concat(),
        ]
        .concat();
        let lengths = [24, 0, 4 * types.len() as u32, 4 * types.len() as u32, strings.len() as u32];
        let words = [0x0001_eb9f].into_iter().chain(lengths).chain(types);
        words.flat_map(u32::to_le_bytes).chain(strings.iter().copied()).collect()
    }

    #[test]
    fn members_of_unnamed_structures_are_found() {
        let types = Types::parse(made()).unwrap();
        assert_eq!(types.offset("outer", &["first"]), Some(0));
        assert_eq!(types.offset("outer", &["nested", "b"]), Some(16));
        assert_eq!(types.offset("inner", &["b"]), Some(8));
        assert_eq!(types.bits("inner", "b"), Some(64));
        assert_eq!(types.offset("inner", &["c"]), None);
        assert_eq!(types.offset("inner", &["a", "b"]), None, "a number has no members");
        assert_eq!(types.offset("out", &["first"]), None);
    }

    #[test]
    fn truncated_types_are_refused_or_lack_members() {
        let whole = made();
        for length in 0..whole.len() {
            let cut = Types::parse(whole[..length].to_vec());
            assert!(cut.is_none_or(|types| types.offset("outer", &["nested", "c"]).is_none()));
        }
    }

    #[test]
    fn this_kernel_has_its_tasks() {
        let types = Types::of_kernel().expect("every supported kernel has BTF");
        assert!(types.offset("task_struct", &["mm"]).is_some_and(|offset| offset > 0));
        assert!(types.tracepoint("sys_enter").is_some() && types.tracepoint("sys_ente").is_none());
        assert!(
            types.offset("mm_struct", &["uprobes_state", "xol_area"]).is_some(),
            "inside an unnamed union"
        );
        let reasons = types.enumerators("skb_drop_reason", "SKB_DROP_REASON_");
        assert!(reasons.values().any(|name| name == "SOCKET_RCVBUFF"), "{reasons:?}");
        assert!(types.enumerators("skb_drop", "").is_empty());
    }
}
