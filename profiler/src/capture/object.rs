//! One BPF object: its maps, created when it is loaded, and its programs, loaded when they are needed.
//!
//! aya reads and relocates the object and creates the maps. Its own loader is not used: it first reads all types of the
//! running kernel, which are not needed, and it loads programs one after the other, although verifying them takes most
//! of the time.

use std::{
    collections::{HashMap, HashSet},
    ffi::CStr,
    io,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
    path::Path,
    sync::Arc,
    time::Instant,
};

use aya::maps::{Map, MapData, RingBuf};
use aya_obj::EbpfSectionKind;

use super::{casts, kernel_log};
use crate::{
    error::{Error, ErrorKind, Result},
    kernel::bpf::{self, ProgramKind, ProgramSpec},
};

/// The types of the running kernel. The kernel needs them for task storage; we do not read them.
const KERNEL_TYPES: &str = "/sys/kernel/btf/vmlinux";

/// Sizes and settings of an object, patched in before it is loaded.
#[derive(Default)]
pub(crate) struct Settings<'a> {
    /// Read-only globals by symbol.
    pub(crate) globals: Vec<(&'a str, &'a [u8])>,
    /// Maximal entries by map.
    pub(crate) entries: Vec<(&'a str, u32)>,
    /// Maps of another object that are to be used in place of its own, by name.
    pub(crate) shared: Maps,
}

/// Maps by name. They live as long as someone holds them.
pub(crate) type Maps = HashMap<String, Arc<MapData>>;

/// A loaded object. Its maps live as long as it does.
pub(crate) struct Object {
    tool: &'static str,
    maps: Maps,
    /// Names of the maps that were created for it.
    own: HashSet<String>,
    relocated: aya_obj::Object,
    btf: OwnedFd,
}

/// Any error of the libraries or the kernel while an object is loaded.
type AnyError = Box<dyn std::error::Error + Send + Sync>;

impl Object {
    /// Creates the maps of an object and readies its programs.
    pub(crate) fn load(tool: &'static str, bytes: &[u8], settings: Settings<'_>) -> Result<Object> {
        let tried = || Error::new(ErrorKind::Kernel, format_args!("tried to load the BPF object of {tool}"));
        if bytes.is_empty() {
            return Err(tried().because("this binary was built without it (PROFILER_EBPF=skip)").hint(
                "build again without that variable; `cargo xtask setup` installs what the build needs",
            ));
        }
        if !Path::new(KERNEL_TYPES).exists() {
            return Err(tried()
                .because(format_args!("there is no {KERNEL_TYPES}"))
                .hint("the kernel must be built with CONFIG_DEBUG_INFO_BTF"));
        }
        Self::create(tool, bytes, settings).map_err(|e| explain(tried(), e))
    }

    fn create(
        tool: &'static str,
        bytes: &[u8],
        settings: Settings<'_>,
    ) -> std::result::Result<Object, AnyError> {
        let features = aya::features();
        let mut object = aya_obj::Object::parse(bytes)?;
        let (level, log_bytes) = kernel_log::wanted();
        let globals = settings.globals.into_iter().map(|(name, data)| (name, (data, true)));
        object.patch_map_data(globals.chain([(kernel_log::LEVEL, ([level].as_slice(), false))]).collect())?;
        let kernel_btf = features.btf().ok_or("the kernel has no BTF (CONFIG_DEBUG_INFO_BTF)")?;
        let btf = object.fixup_and_sanitize_btf(kernel_btf)?.ok_or("the object has no BTF")?.to_bytes();
        let btf = bpf::load_btf(&btf)?;
        let mut maps = settings.shared;
        maps.retain(|name, _| object.maps.contains_key(name));
        for (name, entries) in settings.entries {
            let map = object.maps.get_mut(name).ok_or_else(|| format!("the object has no map {name}"))?;
            map.set_max_entries(entries);
        }
        if let Some(ring) = object.maps.get_mut(kernel_log::RING) {
            ring.set_max_entries(log_bytes);
        }
        let definitions: Vec<_> = object.maps.drain().collect();
        let mut own = HashSet::new();
        for (name, definition) in
            definitions.iter().filter(|(name, _)| !maps.contains_key(name)).collect::<Vec<_>>()
        {
            maps.insert(name.clone(), Arc::new(create_map(name, definition, btf.as_fd())?));
            own.insert(name.clone());
        }
        let text: HashSet<usize> = object.functions.keys().map(|key| key.0).collect();
        let descriptors = definitions.iter().filter_map(|(name, definition)| {
            Some((name.as_str(), maps.get(name)?.fd().as_fd().as_raw_fd(), definition))
        });
        object.relocate_maps(descriptors, &text)?;
        object.relocate_calls(&text)?;
        let functions = object.functions.values_mut();
        casts::fill_in(functions.flat_map(|function| &mut function.instructions))?;
        object.sanitize_functions(features);
        Ok(Object { tool, maps, own, relocated: object, btf })
    }

    /// Writes one element of a map.
    ///
    /// # Errors
    /// If there is no such map, or if the kernel refuses.
    pub(crate) fn write<K, V>(&self, map: &str, key: &K, value: &V) -> Result<()> {
        bpf::update(self.map(map)?, key, value).map_err(|e| {
            Error::new(ErrorKind::Kernel, format_args!("tried to write BPF map {map}")).because_of(e)
        })
    }

    /// The descriptor of a map.
    pub(crate) fn map(&self, name: &str) -> Result<BorrowedFd<'_>> {
        self.maps.get(name).map(|data| data.fd().as_fd()).ok_or_else(|| self.no_map(name))
    }

    /// The descriptors of the maps that were created for it.
    pub(crate) fn own_maps(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.maps.iter().filter(|(name, _)| self.own.contains(*name)).map(|(_, data)| data.fd().as_fd())
    }

    /// Those of its maps that have one of these names, for another object.
    pub(crate) fn share(&self, names: &[&str]) -> Maps {
        self.maps
            .iter()
            .filter(|(name, _)| names.contains(&name.as_str()))
            .map(|(name, data)| (name.clone(), Arc::clone(data)))
            .collect()
    }

    /// A ring, to be read by one reader.
    pub(crate) fn ring(&self, name: &str) -> Result<RingBuf<MapData>> {
        let tried =
            || Error::new(ErrorKind::Kernel, format_args!("tried to open map {name} of {}", self.tool));
        let descriptor = self.map(name)?.try_clone_to_owned().map_err(|e| tried().because_of(e))?;
        let ring = MapData::from_fd(descriptor).and_then(|data| RingBuf::try_from(Map::RingBuf(data)));
        ring.map_err(|e| explain(tried(), e))
    }

    fn no_map(&self, name: &str) -> Error {
        Error::new(ErrorKind::Kernel, format_args!("tried to find map {name} of {}", self.tool))
    }

    /// Loads a program. Most of the time goes to the verifier, on the calling thread.
    pub(crate) fn load_program(&self, name: &str, kind: ProgramKind) -> io::Result<OwnedFd> {
        let begun = Instant::now();
        let missing = || io::Error::other(format!("the object has no program {name}"));
        let program = self.relocated.programs.get(name).ok_or_else(missing)?;
        let function = self.relocated.functions.get(&program.function_key()).ok_or_else(missing)?;
        let instructions = &function.instructions;
        // SAFETY: bpf_insn is 8 bytes of plain data.
        let instructions = unsafe {
            std::slice::from_raw_parts(
                instructions.as_ptr().cast::<u8>(),
                size_of_val(instructions.as_slice()),
            )
        };
        let license = CStr::from_bytes_until_nul(program.license.as_bytes_with_nul())
            .map_err(|_not_terminated| missing())?;
        let func_info = function.func_info.func_info_bytes();
        let spec = ProgramSpec {
            name,
            instructions,
            license,
            kind,
            btf: self.btf.as_fd(),
            func_info: (function.func_info_rec_size, &func_info, function.func_info.len()),
        };
        let mut log = Vec::new();
        let loaded = bpf::load_program(&spec, &mut log).map_err(|error| {
            let log = String::from_utf8_lossy(&log);
            let words = log.trim_end_matches('\0').trim_end();
            tracing::debug!("verifier log of {name}:\n{words}");
            let last =
                words.lines().rev().find(|l| !l.starts_with("processed ")).unwrap_or("no verifier log");
            io::Error::new(error.kind(), format!("{error} ({last})"))
        });
        if loaded.is_ok() {
            tracing::debug!("loading {name} took {:?}", begun.elapsed());
        }
        loaded
    }
}

/// Creates a map with its initial contents.
fn create_map(
    name: &str,
    definition: &aya_obj::Map,
    btf: BorrowedFd<'_>,
) -> std::result::Result<MapData, AnyError> {
    let mut definition = definition.clone();
    if let (EbpfSectionKind::Bss, aya_obj::Map::Legacy(map)) = (definition.section_kind(), &mut definition) {
        map.def.map_flags |= aya_obj::generated::BPF_F_MMAPABLE;
    }
    let map = MapData::create(definition.clone(), name, Some(btf))?;
    let fd = map.fd().as_fd();
    if !definition.data().is_empty() {
        bpf::update(fd, &0u32, definition.data())?;
    }
    if definition.section_kind() == EbpfSectionKind::Rodata {
        bpf::freeze(fd)?;
    }
    Ok(map)
}

/// Adds the cause, and a hint for missing privileges and for limits.
pub(crate) fn explain(error: Error, cause: impl Into<AnyError>) -> Error {
    let cause = cause.into();
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(&*cause);
    let mut number = None;
    while let Some(inner) = source {
        number = number.or(inner.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error));
        source = inner.source();
    }
    let error = error.because_of(cause);
    match remedy(number) {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// The hint for an error of the kernel.
fn remedy(number: Option<i32>) -> Option<&'static str> {
    match number? {
        libc::EPERM | libc::EACCES => Some(
            "run as root, or with CAP_BPF, CAP_PERFMON and CAP_SYS_ADMIN; `profiler doctor` shows what is missing",
        ),
        libc::EMFILE | libc::ENFILE => {
            Some("raise the hard limit of open files (`ulimit -Hn`), or observe fewer processes")
        }
        libc::ENOMEM => Some(
            "free memory or raise its limit (`ulimit -v`, the cgroup's memory.max), or lower --max-blocks",
        ),
        _ => None,
    }
}
