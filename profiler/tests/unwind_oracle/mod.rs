//! What a step from one frame to the next leads to, twice: by the unwind information as gimli decodes it, and by a row of
//! our table. Both are carried out with numbers, on made-up registers and a made-up memory: so nothing of the
//! conversion is repeated here, only the meaning of both sides.
#![allow(dead_code, reason = "every test binary uses its own part of this")]

use gimli::{
    BaseAddresses, CfaRule, CieOrFde, EhFrame, Encoding, EndianSlice, EvaluationResult, Expression, Format,
    FrameDescriptionEntry, LittleEndian, Location, Register, RegisterRule, UnwindContext,
    UnwindContextStorage, UnwindSection as _, UnwindTableRow, Value, X86_64,
};
use object::read::elf::ElfFile64;
use object::{Object as _, ObjectSection as _};
use profiler_common::unwind::{CfaForm, Kind, Rare, RbpForm, ReturnForm, Row, signal_frame};

type Bytes<'a> = EndianSlice<'a, LittleEndian>;

/// Where a step leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// There is no rule.
    NoRule,
    /// There is no caller.
    End,
    /// There is a rule, which this side cannot follow.
    NotFollowed,
    /// To a frame with these registers.
    Frame {
        ip: u64,
        rsp: u64,
        /// `None`: nobody knows.
        rbp: Option<u64>,
        /// `ip` is where the thread was interrupted, not a return address.
        interrupted: bool,
    },
}

/// Made-up registers: 0 to 15, and 16, the instruction pointer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Registers([u64; 17]);

impl Registers {
    /// Registers that differ from each other and from one address to the next.
    pub(crate) fn at(address: u64) -> Registers {
        let mut registers = [0; 17];
        for (number, register) in registers.iter_mut().enumerate() {
            *register = memory(address ^ (number as u64) << 56);
        }
        registers[16] = address;
        Registers(registers)
    }

    fn get(&self, register: Register) -> Option<u64> {
        self.0.get(usize::from(register.0)).copied()
    }
}

/// The word at an address of the made-up memory: its address, scrambled (the finalizer of splitmix64).
fn memory(address: u64) -> u64 {
    let mut word = address.wrapping_add(0x9e37_79b9_7f4a_7c15);
    word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
}

/// Follows a row of a table.
pub(crate) fn follow(row: Row, rules: &[Rare], registers: &Registers) -> Outcome {
    let (rsp, rbp, ip) = (registers.0[7], registers.0[6], registers.0[16]);
    let ordinary = |cfa: u64, rbp: u64| Outcome::Frame {
        ip: memory(cfa.wrapping_sub(8)),
        rsp: cfa,
        rbp: Some(rbp),
        interrupted: false,
    };
    let by = |base: u64| {
        let cfa = base.wrapping_add(row.cfa_bytes());
        let saved = row.rbp_below_cfa_bytes();
        ordinary(cfa, if saved == 0 { rbp } else { memory(cfa.wrapping_sub(saved)) })
    };
    match row.kind() {
        Kind::NONE => Outcome::NoRule,
        Kind::END => Outcome::End,
        Kind::RSP => by(rsp),
        Kind::RBP => by(rbp),
        Kind::PLT => {
            let pushed = if ip & 15 >= row.plt_pushed_from() { 8 } else { 0 };
            ordinary(rsp.wrapping_add(8 + pushed), rbp)
        }
        Kind::SIGNAL => Outcome::Frame {
            ip: memory(rsp.wrapping_add(signal_frame::RIP_BYTES)),
            rsp: memory(rsp.wrapping_add(signal_frame::RSP_BYTES)),
            rbp: Some(memory(rsp.wrapping_add(signal_frame::RBP_BYTES))),
            interrupted: true,
        },
        Kind::REALIGNED => ordinary(memory(rbp.wrapping_sub(row.slot_below_rbp_bytes())), memory(rbp)),
        Kind::RARE => follow_rare(&rules[row.rare_index() as usize], registers),
        other => panic!("a kind that does not exist: {other}"),
    }
}

fn follow_rare(rule: &Rare, registers: &Registers) -> Outcome {
    let plus = |base: u64, offset: i32| base.wrapping_add_signed(offset.into());
    let at = plus(registers.0[usize::from(rule.base_register)], rule.cfa_offset_bytes);
    let cfa = match rule.cfa_form {
        CfaForm::VALUE => at,
        CfaForm::MEMORY => plus(memory(at), rule.cfa_add_bytes),
        _ => return Outcome::NotFollowed,
    };
    let (rsp, rbp) = (registers.0[7], registers.0[6]);
    let caller_rbp = match rule.rbp_form {
        RbpForm::UNCHANGED => Some(rbp),
        RbpForm::AT_CFA => Some(memory(plus(cfa, rule.rbp_offset_bytes))),
        RbpForm::AT_RBP => Some(memory(plus(rbp, rule.rbp_offset_bytes))),
        RbpForm::AT_RSP => Some(memory(plus(rsp, rule.rbp_offset_bytes))),
        RbpForm::LOST => None,
        _ => return Outcome::NotFollowed,
    };
    let ip = match rule.return_form {
        ReturnForm::BELOW_CFA => memory(cfa.wrapping_sub(8)),
        ReturnForm::AT_CFA => memory(plus(cfa, rule.return_offset_bytes)),
        ReturnForm::REGISTER => registers.0[rule.return_register as usize],
        _ => return Outcome::NotFollowed,
    };
    Outcome::Frame { ip, rsp: cfa, rbp: caller_rbp, interrupted: false }
}

/// The unwind information of a file, entry by entry.
pub(crate) struct Oracle<'a> {
    section: EhFrame<Bytes<'a>>,
    bases: BaseAddresses,
    /// By start, without those that begin where one before them in the section does.
    functions: Vec<FrameDescriptionEntry<Bytes<'a>>>,
    /// Where each of them ends, or the next one begins.
    ends: Vec<u64>,
    /// Everything that there is was read: every entry, and there is no other section with entries.
    pub(crate) is_whole: bool,
}

/// Room for many remembered states: what is more than gimli's default is not wrong.
#[derive(Debug)]
pub(crate) struct Roomy;

impl UnwindContextStorage<usize> for Roomy {
    type Rules = [(Register, RegisterRule<usize>); 192];
    type Stack = Box<[TableRow; 16]>;
}

pub(crate) type TableRow = UnwindTableRow<usize, Roomy>;

/// A stretch of code with one rule.
pub(crate) struct Stretch<'r> {
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// `None`: the rest of an entry that cannot be decoded.
    pub(crate) row: Option<&'r TableRow>,
    pub(crate) signal: bool,
}

impl<'a> Oracle<'a> {
    /// Reads all entries of `.eh_frame`, up to the first that cannot be read. `None` if there is no such section.
    pub(crate) fn of(file: &'a [u8]) -> Option<Oracle<'a>> {
        let elf = ElfFile64::<object::LittleEndian>::parse(file).ok()?;
        let section = elf.section_by_name(".eh_frame")?;
        let mut bases = BaseAddresses::default().set_eh_frame(section.address());
        if let Some(text) = elf.section_by_name(".text") {
            bases = bases.set_text(text.address());
        }
        let mut frames = EhFrame::new(section.data().ok()?, LittleEndian);
        frames.set_address_size(8);
        let mut functions = Vec::new();
        let mut entries = frames.entries(&bases);
        let mut end = 0;
        let mut is_whole = elf.section_by_name(".debug_frame").is_none();
        loop {
            match entries.next() {
                Ok(Some(CieOrFde::Cie(shared))) => end = shared.offset() + 4 + shared.entry_len(),
                Ok(Some(CieOrFde::Fde(partial))) => {
                    end = partial.offset() + 4 + partial.entry_len();
                    match partial.parse(EhFrame::cie_from_offset) {
                        Ok(function) => functions.push(function),
                        Err(_) => is_whole = false,
                    }
                }
                Ok(None) => break,
                Err(_) => {
                    is_whole = false;
                    break;
                }
            }
        }
        // An empty entry ends the section for gimli.
        is_whole &= section.data().ok()?.get(end..)?.iter().all(|&byte| byte == 0);
        functions.retain(|function| function.initial_address() < function.end_address());
        functions.sort_by_key(FrameDescriptionEntry::initial_address);
        functions.dedup_by_key(|function| function.initial_address());
        let starts = functions.iter().map(FrameDescriptionEntry::initial_address);
        let next = starts.skip(1).chain([u64::MAX]);
        let ends =
            functions.iter().zip(next).map(|(function, next)| function.end_address().min(next)).collect();
        Some(Oracle { section: frames, bases, functions, ends, is_whole })
    }

    /// Start and end of what each entry is in force for, by address.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = (u64, u64)> {
        self.functions.iter().zip(&self.ends).map(|(function, end)| (function.initial_address(), *end))
    }

    /// Shows every stretch of function number `index`.
    pub(crate) fn each_stretch(&self, index: usize, mut see: impl FnMut(Stretch<'_>)) {
        let function = &self.functions[index];
        let end = self.ends[index];
        let signal = function.is_signal_trampoline();
        let mut context = UnwindContext::new_in();
        let mut reached = function.initial_address();
        if function.cie().return_address_register() == X86_64::RA
            && let Ok(mut rows) = function.rows(&self.section, &self.bases, &mut context)
        {
            loop {
                match rows.next_row() {
                    Ok(Some(row)) if row.start_address() < end => {
                        let (start, stop) = (row.start_address(), row.end_address().min(end));
                        if start < stop {
                            see(Stretch { start, end: stop, row: Some(row), signal });
                        }
                        reached = row.end_address();
                    }
                    Ok(_) => return,
                    Err(_) => break,
                }
            }
        }
        if reached < end {
            see(Stretch { start: reached, end, row: None, signal });
        }
    }

    /// Follows a stretch's rule.
    pub(crate) fn follow(&self, stretch: &Stretch<'_>, registers: &Registers) -> Outcome {
        let step = |row| self.step(row, stretch.signal, registers);
        stretch.row.and_then(step).unwrap_or(Outcome::NotFollowed)
    }

    fn step(&self, row: &TableRow, signal: bool, registers: &Registers) -> Option<Outcome> {
        if row.register(X86_64::RA) == Some(RegisterRule::Undefined) {
            return Some(Outcome::End);
        }
        let cfa = match row.cfa() {
            CfaRule::RegisterAndOffset { register, offset } => {
                registers.get(*register)?.wrapping_add_signed(*offset)
            }
            CfaRule::Expression(at) => evaluate(at.get(&self.section).ok()?, None, registers)?,
        };
        let value = |rule: RegisterRule<usize>, unchanged: Option<u64>| {
            Some(match rule {
                RegisterRule::SameValue => unchanged?,
                RegisterRule::Offset(offset) => memory(cfa.wrapping_add_signed(offset)),
                RegisterRule::ValOffset(offset) => cfa.wrapping_add_signed(offset),
                RegisterRule::Register(other) => registers.get(other)?,
                RegisterRule::Expression(at) => {
                    memory(evaluate(at.get(&self.section).ok()?, Some(cfa), registers)?)
                }
                RegisterRule::ValExpression(at) => {
                    evaluate(at.get(&self.section).ok()?, Some(cfa), registers)?
                }
                _ => return None,
            })
        };
        let rbp = match row.register(X86_64::RBP) {
            None => Some(registers.0[6]),
            Some(RegisterRule::Undefined) => None,
            Some(rule) => Some(value(rule, registers.get(X86_64::RBP))?),
        };
        let rsp = match row.register(X86_64::RSP) {
            None => cfa,
            Some(rule) => value(rule, registers.get(X86_64::RSP))?,
        };
        let ip = value(row.register(X86_64::RA)?, None)?;
        Some(Outcome::Frame { ip, rsp, rbp, interrupted: signal })
    }

    /// Whether a rule is one that every compiler writes all the time: never to be given up.
    pub(crate) fn is_common(row: &TableRow) -> bool {
        let near = |offset: i64| i32::try_from(offset).is_ok();
        let cfa = matches!(row.cfa(), CfaRule::RegisterAndOffset { register, offset }
            if register.0 < 16 && near(*offset));
        let rbp = match row.register(X86_64::RBP) {
            None | Some(RegisterRule::SameValue | RegisterRule::Undefined) => true,
            Some(RegisterRule::Offset(offset)) => near(offset),
            Some(_) => false,
        };
        let ip = match row.register(X86_64::RA) {
            Some(RegisterRule::Offset(offset)) => near(offset),
            Some(RegisterRule::Register(register)) => register.0 < 16,
            _ => false,
        };
        cfa && rbp && ip && row.register(X86_64::RSP).is_none()
    }
}

/// Carries out a DWARF expression. `cfa`: what the stack holds at the start.
fn evaluate(expression: Expression<Bytes<'_>>, cfa: Option<u64>, registers: &Registers) -> Option<u64> {
    let encoding = Encoding { address_size: 8, format: Format::Dwarf32, version: 4 };
    let mut evaluation = expression.evaluation(encoding);
    evaluation.set_max_iterations(1000);
    if let Some(cfa) = cfa {
        evaluation.set_initial_value(cfa);
    }
    let mut state = evaluation.evaluate().ok()?;
    loop {
        state = match state {
            EvaluationResult::Complete => break,
            EvaluationResult::RequiresMemory { address, size: 8, space: None, base_type }
                if base_type.0 == 0 =>
            {
                evaluation.resume_with_memory(Value::Generic(memory(address))).ok()?
            }
            EvaluationResult::RequiresRegister { register, base_type } if base_type.0 == 0 => {
                evaluation.resume_with_register(Value::Generic(registers.get(register)?)).ok()?
            }
            _ => return None,
        };
    }
    match evaluation.as_result() {
        [piece] => match piece.location {
            Location::Address { address } => Some(address),
            _ => None,
        },
        _ => None,
    }
}
