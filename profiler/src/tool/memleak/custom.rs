//! Allocators that the user names: `--alloc-fn 'pool_get:size=arg1,ptr=ret' --free-fn 'pool_put:ptr=arg0'`.

use profiler_common::memleak::cookie::{Cookie, From};

use super::allocators::{Meaning, Role};
use crate::units::parse_bytes;

/// A function that the user names, and what it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Custom {
    /// Symbol name, as in the file (mangled).
    pub name: String,
    /// Its meaning.
    pub meaning: Meaning,
}

/// Reads `--alloc-fn`: `NAME:size=argN|BYTES[,ptr=ret|*argN][,count=argN][,old=argN]`. Without `ptr`, the block is what
/// the function returns.
///
/// # Errors
/// Says which part is wrong and what is expected.
pub fn parse_alloc(spec: &str) -> Result<Custom, String> {
    let (name, parts) = split(spec)?;
    let mut meaning = Meaning {
        size: From::None,
        count: From::None,
        block: From::Return,
        old: From::None,
        fixed_size: 0,
        role: Role::Alloc,
        operator: false,
    };
    let mut sized = false;
    for (key, value) in parts {
        match key {
            "size" => {
                sized = true;
                match argument(value) {
                    Ok(from) => meaning.size = from,
                    Err(_) => meaning.fixed_size = fixed_size(value).ok_or_else(|| of_size(value))?,
                }
            }
            "count" => meaning.count = argument(value)?,
            "old" => meaning.old = argument(value)?,
            "ptr" => {
                meaning.block = match (value, value.strip_prefix('*').map(argument)) {
                    ("ret", _) => From::Return,
                    (_, Some(Ok(From::Arg(n)))) => From::Behind(n),
                    _ => return Err(format!("ptr={value} is neither ret nor *arg0 to *arg5")),
                }
            }
            other => return Err(format!("'{other}' is not one of size, ptr, count, old")),
        }
    }
    if sized {
        Ok(Custom { name, meaning })
    } else {
        Err("the size is missing: add size=arg0, or a number of bytes".into())
    }
}

/// Reads `--free-fn`: `NAME:ptr=argN`.
///
/// # Errors
/// Says which part is wrong and what is expected.
pub fn parse_free(spec: &str) -> Result<Custom, String> {
    let (name, parts) = split(spec)?;
    let block = match parts.as_slice() {
        [("ptr", value)] => argument(value)?,
        _ => return Err("write NAME:ptr=arg0".into()),
    };
    let meaning = Meaning {
        size: From::None,
        count: From::None,
        block,
        old: From::None,
        fixed_size: 0,
        role: Role::Free,
        operator: false,
    };
    Ok(Custom { name, meaning })
}

/// Keys and values behind the name.
type Parts<'a> = Vec<(&'a str, &'a str)>;

fn split(spec: &str) -> Result<(String, Parts<'_>), String> {
    let form = "write NAME:size=arg0,ptr=ret for an allocation, NAME:ptr=arg0 for a release";
    // C++ names hold colons: the last single one counts.
    let (name, rest) = spec.rsplit_once(':').ok_or(form)?;
    if name.is_empty() || name.ends_with(':') {
        return Err(form.into());
    }
    let parts = rest.split(',').map(|part| part.trim().split_once('='));
    let parts = parts.collect::<Option<Vec<_>>>().ok_or(form)?;
    let twice = parts.iter().enumerate().find(|(i, (key, _))| parts[..*i].iter().any(|(k, _)| k == key));
    if let Some((_, (key, _))) = twice {
        return Err(format!("'{key}' is given twice"));
    }
    Ok((name.to_owned(), parts))
}

fn argument(value: &str) -> Result<From, String> {
    match value.strip_prefix("arg").and_then(|n| n.parse::<u8>().ok()) {
        Some(n) if n < 6 => Ok(From::Arg(n)),
        _ => Err(format!("'{value}' is not one of arg0 to arg5")),
    }
}

fn of_size(value: &str) -> String {
    let most = Cookie::MAX_FIXED_SIZE;
    format!("'{value}' is neither one of arg0 to arg5 nor a size of up to {most} bytes")
}

fn fixed_size(value: &str) -> Option<u32> {
    let bytes = parse_bytes(value).ok()?;
    u32::try_from(bytes).ok().filter(|bytes| *bytes <= Cookie::MAX_FIXED_SIZE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_help_shows() {
        let get = parse_alloc("pool_get:size=arg1,ptr=ret").unwrap();
        assert_eq!(
            (get.name.as_str(), get.meaning.size, get.meaning.block),
            ("pool_get", From::Arg(1), From::Return)
        );
        let fixed = parse_alloc("Pool::get:size=64,ptr=*arg0").unwrap();
        assert_eq!((fixed.name.as_str(), fixed.meaning.fixed_size), ("Pool::get", 64));
        assert_eq!(fixed.meaning.block, From::Behind(0));
        let array = parse_alloc("f:size=arg2,count=arg1,old=arg0").unwrap();
        assert_eq!((array.meaning.count, array.meaning.old), (From::Arg(1), From::Arg(0)));
        assert_eq!(parse_free("pool_put:ptr=arg0").unwrap().meaning.block, From::Arg(0));
    }

    #[test]
    fn says_what_is_wrong() {
        for (spec, word) in [
            ("pool_get", "NAME:"),
            ("pool_get:size=arg9", "arg0 to arg5"),
            ("pool_get:ptr=ret", "size is missing"),
            ("pool_get:size=arg0,ptr=arg1", "neither ret"),
            ("pool_get:size=arg0,colour=red", "not one of"),
            ("pool_get:size=arg0,size=8", "given twice"),
            (":size=arg0", "NAME:"),
        ] {
            let error = parse_alloc(spec).unwrap_err();
            assert!(error.contains(word), "{spec}: {error}");
        }
        assert!(parse_free("pool_put:size=arg0").is_err());
        assert!(parse_free("pool_put").is_err());
    }
}
