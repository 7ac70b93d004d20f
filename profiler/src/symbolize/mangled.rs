//! Demangling names.

use std::borrow::Cow;

use gimli::DwLang;

/// Longest mangled name that is demangled, in bytes: some symbols are made to exhaust demanglers.
const MAX_MANGLED_BYTES: usize = 4096;

/// The demangled name, or the name itself if it is not mangled. `language` is that of the code, if it is known.
pub(super) fn readable(name: &str, language: Option<DwLang>) -> String {
    if name.len() > MAX_MANGLED_BYTES {
        return name.to_owned();
    }
    addr2line::demangle_auto(Cow::Borrowed(name), language).into_owned()
}

#[cfg(test)]
mod tests {
    use super::readable;

    #[test]
    fn both_languages_are_known_by_their_symbols() {
        assert_eq!(readable("_ZN4pong4chat4push17h5f1a6fd39197ad62E", None), "pong::chat::push");
        assert_eq!(readable("_ZN4Chat4keepEi", None), "Chat::keep(int)");
        assert_eq!(readable("chat_push", None), "chat_push");
        assert_eq!(readable("_ZN4Chat4keepEi", Some(gimli::DW_LANG_C_plus_plus)), "Chat::keep(int)");
    }

    #[test]
    fn a_name_without_measure_is_left_as_it_is() {
        let long = format!("_Z{}{}", 5000, "x".repeat(5000));
        assert_eq!(readable(&long, None), long);
    }
}
