//! Text in JSON: a plain string wherever that loses nothing, else an object that says what it is.
//!
//! `"name"`, or `{"b64": "..."}` for bytes that are not UTF-8; text that was cut is always an object, with
//! `utf8` or `b64` and `cut_from_bytes`. Hidden characters are escaped by the JSON writer of `render::json`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{MAX_BYTES, Text};

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Wire {
    Plain(String),
    Marked {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        utf8: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        b64: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cut_from_bytes: Option<u64>,
    },
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (std::str::from_utf8(&self.bytes), self.cut_from) {
            (Ok(utf8), None) => serializer.serialize_str(utf8),
            (Ok(utf8), cut) => Wire::Marked { utf8: Some(utf8.to_owned()), b64: None, cut_from_bytes: cut }
                .serialize(serializer),
            (Err(_), cut) => {
                let b64 = Some(STANDARD.encode(&self.bytes));
                Wire::Marked { utf8: None, b64, cut_from_bytes: cut }.serialize(serializer)
            }
        }
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Text, D::Error> {
        let (bytes, cut_from) = match Wire::deserialize(deserializer)? {
            Wire::Plain(text) => (text.into_bytes(), None),
            Wire::Marked { utf8: Some(text), b64: None, cut_from_bytes } => {
                (text.into_bytes(), cut_from_bytes)
            }
            Wire::Marked { utf8: None, b64: Some(b64), cut_from_bytes } => {
                (STANDARD.decode(b64).map_err(D::Error::custom)?, cut_from_bytes)
            }
            Wire::Marked { .. } => {
                return Err(D::Error::custom("text needs exactly one of `utf8` and `b64`"));
            }
        };
        if bytes.len() > MAX_BYTES {
            return Err(D::Error::custom(format_args!("text of {} bytes: at most {MAX_BYTES}", bytes.len())));
        }
        if cut_from.is_some_and(|length| length <= bytes.len() as u64) {
            return Err(D::Error::custom("text that was cut cannot be as long as before"));
        }
        Ok(Text { bytes: bytes.into(), cut_from })
    }
}

#[cfg(test)]
impl schemars::JsonSchema for Text {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Text".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let cut = serde_json::json!({
            "description": "Length of the original in bytes, if it was too long to be kept whole.",
            "type": "integer",
            "minimum": MAX_BYTES as u64 + 1
        });
        schemars::json_schema!({
            "description": "Text from the target, untrusted: escape it for whatever you write it to. A string; or an object \
                            with `b64` (base64) if it is not UTF-8, and with `cut_from_bytes` if it was too long.",
            "anyOf": [
                { "type": "string", "maxLength": MAX_BYTES },
                {
                    "type": "object",
                    "properties": { "b64": { "type": "string" }, "cut_from_bytes": cut },
                    "required": ["b64"],
                    "not": { "required": ["utf8"] }
                },
                {
                    "type": "object",
                    "properties": { "utf8": { "type": "string", "maxLength": MAX_BYTES }, "cut_from_bytes": cut },
                    "required": ["utf8"],
                    "not": { "required": ["b64"] }
                }
            ]
        })
    }
}
