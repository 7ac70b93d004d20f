//! Unwind information of a file by address: how to step to the caller, and where the function begins.

use gimli::{
    BaseAddresses, EhFrame, EhFrameHdr, EndianSlice, FrameDescriptionEntry, LittleEndian, ParsedEhFrameHdr,
    UnwindContext, UnwindSection as _, UnwindTableRow,
};

use super::image::Image;

type Bytes<'a> = EndianSlice<'a, LittleEndian>;

/// Where functions begin, including those without a name.
pub(crate) struct FunctionStarts<'a>(Option<UnwindTable<'a>>);

impl<'a> FunctionStarts<'a> {
    /// Of this file.
    pub(crate) fn of(image: &Image<'a>) -> Self {
        FunctionStarts(UnwindTable::of(image))
    }

    /// Where the function around an address begins, if the unwind information has an entry for it. Both are addresses
    /// of the file. A cold part counts as a function of its own.
    pub(crate) fn start_of(&self, address: u64) -> Option<u64> {
        let entry = self.0.as_ref()?.indexed(address)?;
        entry.contains(address).then(|| entry.initial_address())
    }
}

/// Unwind information by address.
pub(super) struct UnwindTable<'a> {
    frames: EhFrame<Bytes<'a>>,
    index: Option<ParsedEhFrameHdr<Bytes<'a>>>,
    bases: BaseAddresses,
}

impl<'a> UnwindTable<'a> {
    /// The unwind information of a file; `None` if it has none.
    pub(super) fn of(image: &Image<'a>) -> Option<Self> {
        let (address, frames) = image.section(".eh_frame")?;
        if frames.is_empty() {
            return None;
        }
        let mut bases = BaseAddresses::default().set_eh_frame(address);
        if let Some((text, _)) = image.section(".text") {
            bases = bases.set_text(text);
        }
        let mut index = None;
        if let Some((address, header)) = image.section(".eh_frame_hdr") {
            bases = bases.set_eh_frame_hdr(address);
            index = EhFrameHdr::new(header, LittleEndian).parse(&bases, 8).ok();
        }
        Some(Self { frames: EhFrame::new(frames, LittleEndian), index, bases })
    }

    /// The rule at an address.
    pub(super) fn row<'c>(
        &self,
        address: u64,
        context: &'c mut UnwindContext<usize>,
    ) -> Option<&'c UnwindTableRow<usize>> {
        let frames = &self.frames;
        let fde = match &self.index {
            Some(index) if index.table().is_some() => self.indexed(address)?,
            _ => frames.fde_for_address(&self.bases, address, EhFrame::cie_from_offset).ok()?,
        };
        let fde = Some(fde).filter(|fde| !fde.is_signal_trampoline())?;
        fde.unwind_info_for_address(frames, &self.bases, context, address).ok()
    }

    /// The entry that covers an address, if there is an index for finding it.
    fn indexed(&self, address: u64) -> Option<FrameDescriptionEntry<Bytes<'a>>> {
        let index = self.index.as_ref()?.table()?;
        index.fde_for_address(&self.frames, &self.bases, address, EhFrame::cie_from_offset).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_begins_where_its_entry_does() {
        let bytes = std::fs::read("/proc/self/exe").unwrap();
        let image = Image::parse(&bytes).unwrap();
        let starts = FunctionStarts::of(&image);
        let functions = image.functions(&|_| true);
        let mut known = 0;
        for function in functions.iter().filter(|function| function.size > 64).take(2_000) {
            let inside =
                [0, 1, function.size / 2, function.size - 1].map(|by| starts.start_of(function.address + by));
            known += usize::from(inside == [Some(function.address); 4]);
        }
        // Code in assembly and what a linker folds together has entries of its own.
        assert!(known > 1_900, "{known}");
        assert_eq!(starts.start_of(u64::MAX), None);
        assert_eq!(starts.start_of(0), None);
    }
}
