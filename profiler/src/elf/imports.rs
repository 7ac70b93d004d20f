//! The function that a call through the linkage table reaches.

use std::collections::HashMap;

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, Register};
use object::elf;
use object::read::elf::{Rela as _, SectionHeader as _, Sym as _};

use super::image::{ENDIAN, Image, name_at};

/// `endbr64` and `bnd jmp *slot(%rip)` are the longest start of a stub: 4 + 7 bytes.
const STUB_BYTES: u64 = 16;

impl<'a> Image<'a> {
    /// Whether the loader links a function of this name into the file.
    pub(super) fn imports(&self, name: &str) -> bool {
        self.import_slots.get_or_init(|| self.read_import_slots()).values().any(|import| *import == name)
    }

    /// Name of the function that the loader puts into a slot of the global offset table.
    pub(super) fn import_in_slot(&self, slot: u64) -> Option<&'a str> {
        self.import_slots.get_or_init(|| self.read_import_slots()).get(&slot).copied()
    }

    /// Name of the function that a stub of the procedure linkage table at this address jumps to.
    pub(super) fn import_behind_stub(&self, address: u64) -> Option<&'a str> {
        let code = self.code(address, STUB_BYTES);
        let mut decoder = Decoder::with_ip(64, code, address, DecoderOptions::NONE);
        let mut instruction = Instruction::default();
        decoder.decode_out(&mut instruction);
        if instruction.mnemonic() == Mnemonic::Endbr64 {
            decoder.decode_out(&mut instruction);
        }
        if instruction.flow_control() != FlowControl::IndirectBranch {
            return None;
        }
        self.import_in_slot(slot_of(&instruction)?)
    }

    fn read_import_slots(&self) -> HashMap<u64, &'a str> {
        let mut slots = HashMap::new();
        for section in self.sections().iter() {
            let Ok(Some((relocations, table))) = section.rela(ENDIAN, self.data()) else { continue };
            let Ok(table) = self.sections().section(table) else { continue };
            let Ok(symbols) = table.data_as_array::<elf::Sym64<_>, _>(ENDIAN, self.data()) else { continue };
            let Some(strings) = self.section_data(table.link(ENDIAN).0) else { continue };
            for relocation in relocations {
                let kind = relocation.r_type(ENDIAN, false);
                if kind != elf::R_X86_64_JUMP_SLOT && kind != elf::R_X86_64_GLOB_DAT {
                    continue;
                }
                let symbol = symbols.get(relocation.r_sym(ENDIAN, false) as usize);
                let name = symbol.and_then(|s| name_at(strings, s.st_name(ENDIAN).into()));
                if let Some(name) = name.and_then(|name| str::from_utf8(name).ok()) {
                    slots.insert(relocation.r_offset(ENDIAN), name);
                }
            }
        }
        slots
    }
}

/// Address of the pointer that an indirect call or jump reads, if the instruction alone determines it.
pub(super) fn slot_of(instruction: &Instruction) -> Option<u64> {
    let plain = instruction.is_ip_rel_memory_operand()
        && instruction.memory_index() == Register::None
        && instruction.segment_prefix() == Register::None;
    plain.then(|| instruction.ip_rel_memory_address())
}
