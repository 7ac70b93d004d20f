//! One BPF object: maps created by aya, programs loaded by aya or, for multi links, by ourselves.

use std::{
    collections::HashSet,
    ffi::CStr,
    io,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
};

use aya::{
    Btf, Ebpf, EbpfLoader,
    maps::{Map, MapData},
};

use crate::{
    error::{Error, ErrorKind, Result},
    kernel::bpf::{self, MultiKind, ProgramSpec},
};

/// Sizes and settings of an object, patched in before it is loaded.
#[derive(Default)]
pub(crate) struct Settings<'a> {
    /// Read-only globals by symbol.
    pub(crate) globals: Vec<(&'a str, &'a [u8])>,
    /// Maximal entries by map.
    pub(crate) entries: Vec<(&'a str, u32)>,
}

/// A loaded object. Its maps live as long as it does.
pub(crate) struct Object {
    tool: &'static str,
    pub(crate) ebpf: Ebpf,
    relocated: aya_obj::Object,
    btf: OwnedFd,
}

impl Object {
    /// Creates the maps of an object and readies its programs.
    pub(crate) fn load(tool: &'static str, bytes: &[u8], settings: Settings<'_>) -> Result<Object> {
        let refused = |cause: &(dyn std::error::Error + 'static)| {
            explain(
                Error::new(ErrorKind::Kernel, format_args!("tried to load the BPF object of {tool}")),
                cause,
            )
        };
        if bytes.is_empty() {
            return Err(Error::new(
                ErrorKind::Kernel,
                format_args!("tried to load the BPF object of {tool}"),
            )
            .because("this binary was built without it (PROFILER_EBPF=skip)")
            .hint("build again without that variable; `cargo xtask setup` installs what the build needs"));
        }
        let mut loader = EbpfLoader::new();
        loader.allow_unsupported_maps(); // task storage
        for (name, data) in settings.globals {
            loader.override_global(name, data, true);
        }
        for (name, entries) in settings.entries {
            loader.map_max_entries(name, entries);
        }
        let ebpf = loader.load(&without_line_info(bytes)).map_err(|e| refused(&e))?;
        let (relocated, btf) = relocate(bytes, &ebpf).map_err(|e| refused(e.as_ref()))?;
        Ok(Object { tool, ebpf, relocated, btf })
    }

    /// The descriptor of a map.
    pub(crate) fn map(&self, name: &str) -> Result<BorrowedFd<'_>> {
        let map = self.ebpf.map(name).and_then(map_data);
        map.map(|data| data.fd().as_fd()).ok_or_else(|| {
            Error::new(ErrorKind::Kernel, format_args!("tried to find map {name} of {}", self.tool))
        })
    }

    /// Every map's descriptor.
    pub(crate) fn maps(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.ebpf.maps().filter_map(|(_, map)| map_data(map)).map(|data| data.fd().as_fd())
    }

    /// Loads a program for multi links of a kind.
    pub(crate) fn load_multi(&self, name: &str, kind: MultiKind) -> io::Result<OwnedFd> {
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
        bpf::load_program(&spec, &mut log).map_err(|error| {
            let log = String::from_utf8_lossy(&log);
            let words = log.trim_end_matches('\0').trim_end();
            tracing::debug!("verifier log of {name}:\n{words}");
            let last =
                words.lines().rev().find(|l| !l.starts_with("processed ")).unwrap_or("no verifier log");
            io::Error::new(error.kind(), format!("{error} ({last})"))
        })
    }
}

/// The object without its line information: aya 0.14 does not adjust it when it joins functions, and the kernel then
/// refuses the program. Only verifier logs would show it.
fn without_line_info(bytes: &[u8]) -> Vec<u8> {
    use object::{Object as _, ObjectSection as _};
    // struct btf_ext_header, include/linux/btf.h of libbpf: line_info_len.
    const LINE_INFO_LEN: u64 = 20;
    let mut bytes = bytes.to_vec();
    let at = object::File::parse(&*bytes).ok().and_then(|elf| {
        let (start, size) = elf.section_by_name(".BTF.ext")?.file_range()?;
        (size >= LINE_INFO_LEN + 4).then_some((start + LINE_INFO_LEN) as usize)
    });
    if let Some(field) = at.and_then(|at| bytes.get_mut(at..at + 4)) {
        field.fill(0);
    }
    bytes
}

/// Relocates the object a second time, against the maps that aya created.
fn relocate(
    bytes: &[u8],
    ebpf: &Ebpf,
) -> std::result::Result<(aya_obj::Object, OwnedFd), Box<dyn std::error::Error>> {
    let features = aya::features();
    let mut object = aya_obj::Object::parse(bytes)?;
    let kernel_btf = features.btf().ok_or("the kernel has no BTF (CONFIG_DEBUG_INFO_BTF)")?;
    let btf = object.fixup_and_sanitize_btf(kernel_btf)?.ok_or("the object has no BTF")?.to_bytes();
    let btf = bpf::load_btf(&btf)?;
    let text: HashSet<usize> = object.functions.keys().map(|key| key.0).collect();
    let maps: Vec<_> = object.maps.iter().map(|(name, map)| (name.clone(), map.clone())).collect();
    let descriptors = maps.iter().filter_map(|(name, map)| {
        let data = map_data(ebpf.map(name)?)?;
        Some((name.as_str(), data.fd().as_fd().as_raw_fd(), map))
    });
    object.relocate_maps(descriptors, &text)?;
    object.relocate_calls(&text)?;
    object.sanitize_functions(features);
    Ok((object, btf))
}

fn map_data(map: &Map) -> Option<&MapData> {
    match map {
        Map::Array(data)
        | Map::HashMap(data)
        | Map::PerCpuArray(data)
        | Map::RingBuf(data)
        | Map::Unsupported(data) => Some(data),
        _ => None,
    }
}

/// The running kernel's types.
pub(crate) fn kernel_btf() -> Result<Btf> {
    Btf::from_sys_fs().map_err(|e| {
        Error::new(ErrorKind::Kernel, "tried to read the kernel's types from /sys/kernel/btf/vmlinux")
            .because_of(&e)
            .hint("the kernel must be built with CONFIG_DEBUG_INFO_BTF")
    })
}

/// Adds the cause, and for a refusal by lack of privilege the way out.
pub(crate) fn explain(error: Error, cause: &(dyn std::error::Error + 'static)) -> Error {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(cause);
    let mut denied = false;
    while let Some(inner) = source {
        denied |= inner
            .downcast_ref::<io::Error>()
            .is_some_and(|e| matches!(e.raw_os_error(), Some(libc::EPERM | libc::EACCES)));
        source = inner.source();
    }
    let error = error.because_of(cause);
    if denied { error.hint("run as root, or with CAP_BPF, CAP_PERFMON and CAP_SYS_ADMIN") } else { error }
}
