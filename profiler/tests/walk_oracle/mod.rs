//! Another unwinder's opinion of a recorded walk: framehop, on the very same registers and bytes of the stack.

pub(crate) mod odd;
pub(crate) mod target;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

use framehop::x86_64::{CacheX86_64, UnwindRegsX86_64, UnwinderX86_64};
use framehop::{Error, ExplicitModuleSectionInfo, Module, Unwinder as _};
use gimli::{BaseAddresses, CieOrFde, DebugFrame, EhFrame, EndianSlice, UnwindSection};
use object::read::elf::{ElfFile64, ProgramHeader as _};
use object::{LittleEndian, Object as _, ObjectSection as _};
use profiler::target::maps::{self, Mapping};
use profiler_common::unwind::walk::End;
use profiler_common::witness::{Context, Record};

type Section = Vec<u8>;

/// What framehop says to a walk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Opinion {
    /// The same frames, to the end of the stack.
    Equal,
    /// The same frames, as far as the stack was recorded.
    EqualToEndOfRecord,
    /// The same frames, until framehop gave up where ours went on: at a signal frame, in code made at run time.
    GaveUp,
    /// They part in code of which no unwind information says anything: both guess.
    CannotJudge,
    /// Ours gave up, and says so, where framehop went on.
    OursGaveUp(String),
    /// Frames differ, or ours claims to be complete and is not.
    Different(String),
}

/// framehop with the files that a process maps.
pub(crate) struct Oracle {
    pid: u32,
    unwinder: UnwinderX86_64<Section>,
    cache: CacheX86_64,
    known: BTreeSet<u64>,
    /// What return probes put in place of return addresses.
    trampoline: Option<u64>,
    /// Code that unwind information describes, by start.
    described: BTreeMap<u64, u64>,
    modules: Vec<Described>,
}

/// A mapping with unwind information.
struct Described {
    range: Range<u64>,
    bias: u64,
    bases: BaseAddresses,
    eh_frame: Section,
}

impl Oracle {
    pub(crate) fn new(pid: u32) -> Oracle {
        let mut oracle = Oracle {
            pid,
            unwinder: UnwinderX86_64::new(),
            cache: CacheX86_64::new(),
            known: BTreeSet::new(),
            trampoline: None,
            described: BTreeMap::new(),
            modules: Vec::new(),
        };
        oracle.look_again();
        oracle
    }

    /// Adds what the process has mapped since.
    pub(crate) fn look_again(&mut self) {
        for mapping in maps::executable(self.pid).unwrap_or_default() {
            if mapping.path.as_os_str() == "[uprobes]" {
                self.trampoline = Some(mapping.start);
            }
            if self.known.insert(mapping.start)
                && let Some(module) = self.module(&mapping)
            {
                self.unwinder.add_module(module);
            }
        }
    }

    /// Whether there is unwind information for an address.
    fn is_described(&self, address: u64) -> bool {
        self.described.range(..=address).next_back().is_some_and(|(_, end)| address < *end)
    }

    /// Whether the rule at an address takes other registers than rsp and rbp, which framehop does not know: it guesses then.
    /// libgcc ends the unwinding for an exception so.
    fn is_beyond_framehop(&self, address: u64) -> bool {
        let Some(module) = self.modules.iter().find(|module| module.range.contains(&address)) else {
            return false;
        };
        let mut section = EhFrame::new(&module.eh_frame, gimli::LittleEndian);
        section.set_address_size(8);
        let mut context = gimli::UnwindContext::new();
        let row = section.unwind_info_for_address(
            &module.bases,
            &mut context,
            address.wrapping_sub(module.bias),
            EhFrame::cie_from_offset,
        );
        let ordinary = [gimli::X86_64::RSP, gimli::X86_64::RBP];
        row.is_ok_and(|row| match row.cfa() {
            gimli::CfaRule::RegisterAndOffset { register, .. } => {
                let in_register =
                    matches!(row.register(gimli::X86_64::RA), Some(gimli::RegisterRule::Register(_)));
                !ordinary.contains(register) || in_register
            }
            gimli::CfaRule::Expression(_) => false,
        })
    }

    /// Notes what a section of unwind information describes.
    fn describe_code<'s, S: UnwindSection<EndianSlice<'s, gimli::LittleEndian>>>(
        &mut self,
        section: &S,
        bases: &BaseAddresses,
        bias: u64,
    ) where
        S::Offset: gimli::UnwindOffset<usize>,
    {
        let mut entries = section.entries(bases);
        while let Ok(Some(entry)) = entries.next() {
            if let CieOrFde::Fde(partial) = entry
                && let Ok(fde) = partial.parse(S::cie_from_offset)
            {
                let start = fde.initial_address().wrapping_add(bias);
                self.described.insert(start, start.wrapping_add(fde.len()));
            }
        }
    }

    fn module(&mut self, mapping: &Mapping) -> Option<Module<Section>> {
        let name = mapping.path.display().to_string();
        let bytes = if name == "[vdso]" {
            let mut bytes = vec![0; (mapping.end - mapping.start) as usize];
            File::open(format!("/proc/{}/mem", self.pid))
                .ok()?
                .read_exact_at(&mut bytes, mapping.start)
                .ok()?;
            bytes
        } else if mapping.file.inode != 0 {
            fs::read(format!("/proc/{}/map_files/{:x}-{:x}", self.pid, mapping.start, mapping.end)).ok()?
        } else {
            return None;
        };
        let elf = ElfFile64::<LittleEndian>::parse(bytes.as_slice()).ok()?;
        let offset = if name == "[vdso]" { 0 } else { mapping.offset };
        let bias = elf.elf_program_headers().iter().find_map(|part| {
            let endian = elf.endian();
            let first_page = part.p_offset(endian) & !4095;
            let holds = part.p_type(endian) == object::elf::PT_LOAD
                && part.p_flags(endian).0 & object::elf::PF_X.0 != 0
                && (first_page..part.p_offset(endian) + part.p_filesz(endian)).contains(&offset);
            holds.then(|| mapping.start.wrapping_sub(part.p_vaddr(endian) + offset - part.p_offset(endian)))
        })?;
        let range = |name: &str| -> Option<Range<u64>> {
            let section = elf.section_by_name(name)?;
            Some(section.address()..section.address() + section.size())
        };
        let data = |name: &str| Some(elf.section_by_name(name)?.uncompressed_data().ok()?.into_owned());
        let address = |name: &str| elf.section_by_name(name).map_or(0, |section| section.address());
        let bases = BaseAddresses::default()
            .set_eh_frame(address(".eh_frame"))
            .set_text(address(".text"))
            .set_got(address(".got"));
        if let Some(eh_frame) = data(".eh_frame") {
            self.describe_code(&EhFrame::new(&eh_frame, gimli::LittleEndian), &bases, bias);
            let range = mapping.start..mapping.end;
            self.modules.push(Described { range, bias, bases: bases.clone(), eh_frame });
        }
        if let Some(bytes) = data(".debug_frame") {
            let mut section = DebugFrame::new(&bytes, gimli::LittleEndian);
            section.set_address_size(8);
            self.describe_code(&section, &bases, bias);
        }
        let sections = ExplicitModuleSectionInfo {
            base_svma: 0,
            text_svma: range(".text"),
            text: data(".text"),
            got_svma: range(".got"),
            eh_frame_svma: range(".eh_frame"),
            eh_frame: data(".eh_frame"),
            eh_frame_hdr_svma: range(".eh_frame_hdr"),
            eh_frame_hdr: data(".eh_frame_hdr"),
            debug_frame: data(".debug_frame"),
            ..ExplicitModuleSectionInfo::default()
        };
        Some(Module::new(name, mapping.start..mapping.end, bias, sections))
    }

    /// How often the recorded stack holds what return probes put there.
    pub(crate) fn replaced(&self, record: &Record) -> usize {
        let words = &record.stack[..(record.stack_bytes / 8) as usize];
        words.iter().filter(|word| Some(**word) == self.trampoline).count()
    }

    /// What framehop says to this walk.
    pub(crate) fn judge(&mut self, record: &Record) -> Opinion {
        // Only the kernel knows where a thread is in its program that is in the kernel's own page.
        if self.trampoline.is_some_and(|page| record.ip.wrapping_sub(page) < 4096) {
            return Opinion::CannotJudge;
        }
        let (found, stopped) = self.unwind(record);
        let ours = record.frames();
        let same = ours.iter().zip(&found).take_while(|(a, b)| a == b).count();
        let complete = record.end == End::ROOT;
        if same == ours.len() && same == found.len() {
            return Opinion::Equal;
        }
        // The frame from which the two go different ways.
        let parting = same.checked_sub(1).and_then(|last| Some(ours.get(last)? - u64::from(last > 0)));
        if parting.is_some_and(|address| !self.is_described(address) || self.is_beyond_framehop(address)) {
            return Opinion::CannotJudge;
        }
        if same < ours.len() && same < found.len() {
            return Opinion::Different(describe(record, &found, same));
        }
        if same == ours.len() {
            let words = describe(record, &found, same);
            return if complete { Opinion::Different(words) } else { Opinion::OursGaveUp(words) };
        }
        if matches!(stopped, Some(Error::CouldNotReadStack(_))) {
            Opinion::EqualToEndOfRecord
        } else {
            Opinion::GaveUp
        }
    }

    /// The frames that framehop finds, and what stopped it.
    fn unwind(&mut self, record: &Record) -> (Vec<u64>, Option<Error>) {
        let sp = record.registers[7];
        let (from, bytes) = (record.stack_from, record.stack_bytes);
        // Only the kernel knows what a return probe has replaced. We take over what our walk was told: if that is wrong,
        // the frames that follow will not be the same.
        let number = Cell::new(0);
        let trampoline = self.trampoline;
        let mut read = |address: u64| {
            let at = address.wrapping_sub(from);
            if !at.is_multiple_of(8) || at.saturating_add(8) > bytes {
                return Err(());
            }
            let word = record.stack[(at / 8) as usize];
            Ok(if Some(word) == trampoline { record.frames[number.get()] } else { word })
        };
        let registers = UnwindRegsX86_64::new(record.ip, sp, record.registers[6]);
        let mut found = Vec::new();
        let mut frames = self.unwinder.iter_frames(record.ip, registers, &mut self.cache, &mut read);
        loop {
            match frames.next() {
                Ok(Some(frame)) if found.len() < 127 => {
                    found.push(frame.address());
                    number.set(found.len());
                }
                Ok(_) => return (found, None),
                Err(error) => return (found, Some(error)),
            }
        }
    }
}

impl std::fmt::Debug for Oracle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "framehop on process {} with {} mappings", self.pid, self.known.len())
    }
}

/// For the message of a test that failed.
pub(crate) fn describe(record: &Record, found: &[u64], same: usize) -> String {
    // A short walk whole, or else the frames around the one that they part at.
    let first = if record.depth <= 8 { 0 } else { same.saturating_sub(2) };
    let hex = |frames: &[u64]| -> Vec<String> {
        frames.iter().skip(first).take(8).map(|frame| format!("{frame:#x}")).collect()
    };
    let words = End::WORDS[(record.end as usize).min(End::COUNT - 1)];
    format!(
        "context {}, frame {same} of {} and {}: ours {:?} ({words}, {} guessed), framehop {:?}",
        record.context,
        record.depth,
        found.len(),
        hex(record.frames()),
        record.guessed,
        hex(found)
    )
}

/// Contexts by name, for people.
pub(crate) fn context_name(context: u64) -> &'static str {
    match context {
        Context::SAMPLE => "sample",
        Context::SAMPLE_IN_KERNEL => "sample in the kernel",
        Context::TRACEPOINT => "system call",
        Context::PROBE => "probe",
        _ => "return",
    }
}
