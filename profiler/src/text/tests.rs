use proptest::prelude::*;

use super::{MAX_BYTES, Text, is_hidden, visible};

#[test]
fn the_terminal_never_sees_an_escape_sequence() {
    let clipboard = Text::from("\x1b]52;c;Zm9v\x07srv\u{9b}31m\r\n\t\x7f");
    assert_eq!(clipboard.terminal(), r"\x1b]52;c;Zm9v\x07srv\u{9b}31m\x0d\x0a\x09\x7f");
}

#[test]
fn hidden_and_reversing_characters_are_spelled_out() {
    let text = Text::from("a\u{202e}b\u{2066}c\u{200b}d\u{feff}e\u{2028}f\u{2029}g\u{e0041}");
    assert_eq!(text.terminal(), r"a\u{202e}b\u{2066}c\u{200b}d\u{feff}e\u{2028}f\u{2029}g\u{e0041}");
}

#[test]
fn invalid_bytes_and_the_text_of_their_escape_differ() {
    assert_eq!(Text::new(b"a\xff\xfe").terminal(), r"a\xff\xfe");
    assert_eq!(Text::from(r"a\xff\xfe").terminal(), r"a\\xff\\xfe");
}

#[test]
fn ordinary_names_stay_as_they_are() {
    for name in ["chat::History::push", "std::vec::Vec<[u8; 4]>", "Größe::größer", "служба", "玩家_登录"]
    {
        assert_eq!(Text::from(name).terminal(), name);
    }
}

#[test]
fn xml_has_no_markup_left() {
    let text = Text::from("<script>alert('x')&\"\x01\u{ffff}");
    assert_eq!(text.xml(), r"&lt;script&gt;alert(&#39;x&#39;)&amp;&quot;\x01�");
}

#[test]
fn folded_frames_cannot_forge_frames_counts_or_comments() {
    for (name, folded) in [
        ("a;b", r"a\x3bb"),
        ("a\nb", r"a\x0ab"),
        ("worker 3", r"worker\x203"),
        ("worker 3.5", r"worker\x203.5"),
        ("a b c", "a b c"),
        (" a ", r"\x20a\x20"),
        ("# a", r"\x23 a"),
        ("", "(empty)"),
        ("a\u{a0}b\u{3000}", r"a\xa0b\u{3000}"),
    ] {
        assert_eq!(Text::from(name).folded(), folded, "{name:?}");
    }
}

#[test]
fn long_text_is_cut_between_characters_and_marked() {
    let long = "ä".repeat(MAX_BYTES);
    let text = Text::from(format!("x{long}"));
    assert_eq!(text.raw().len(), MAX_BYTES - 1);
    assert_eq!(text.cut_from(), Some(2 * MAX_BYTES as u64 + 1));
    assert!(text.terminal().ends_with("ä…"));
    let exact = Text::from("y".repeat(MAX_BYTES));
    assert_eq!((exact.raw().len(), exact.cut_from()), (MAX_BYTES, None));
}

#[test]
fn json_is_a_string_if_that_loses_nothing() {
    let json = |text: &Text| serde_json::to_string(text).unwrap();
    assert_eq!(json(&Text::from("a b")), r#""a b""#);
    assert_eq!(json(&Text::new(b"a\xff")), r#"{"b64":"Yf8="}"#);
    let cut = json(&Text::new([0xff; MAX_BYTES + 1]));
    assert!(cut.ends_with(r#","cut_from_bytes":4097}"#), "{cut}");
}

#[test]
fn json_that_contradicts_itself_is_refused() {
    for json in [
        r#"{"utf8":"a","b64":"YQ=="}"#,
        r#"{}"#,
        r#"{"b64":"?"}"#,
        r#"{"utf8":"abc","cut_from_bytes":3}"#,
        "7",
    ] {
        assert!(serde_json::from_str::<Text>(json).is_err(), "{json}");
    }
    let long = format!("\"{}\"", "x".repeat(MAX_BYTES + 1));
    assert!(serde_json::from_str::<Text>(&long).is_err());
}

#[test]
fn debug_output_is_escaped() {
    assert_eq!(format!("{:?}", Text::from("\x1b[2J")), r#"Text("\x1b[2J")"#);
}

#[test]
fn our_own_words_are_neutralised_once() {
    assert_eq!(visible("C:\\srv"), "C:\\srv");
    let once = visible("a\x1b\u{202e}").into_owned();
    assert_eq!(once, r"a\x1b\u{202e}");
    assert_eq!(visible(&once), once);
}

proptest! {
    #[test]
    fn nothing_hidden_comes_out(bytes in proptest::collection::vec(any::<u8>(), 0..64), text in any::<String>()) {
        for text in [Text::new(&bytes), Text::from(text)] {
            for out in [text.terminal(), text.xml(), text.folded()] {
                prop_assert!(!out.contains(is_hidden), "{out:?}");
            }
            prop_assert!(!text.xml().contains(['<', '>', '"', '\'']));
            prop_assert!(!text.folded().contains(';'));
        }
    }

    #[test]
    fn json_round_trips(bytes in proptest::collection::vec(any::<u8>(), 0..64), long in 0..3usize) {
        let text = Text::new(bytes.repeat(1 + long * 100));
        let json = serde_json::to_string(&text).unwrap();
        prop_assert_eq!(serde_json::from_str::<Text>(&json).unwrap(), text);
    }

    #[test]
    fn two_texts_never_look_the_same(a in any::<Vec<u8>>(), b in any::<Vec<u8>>()) {
        prop_assert_eq!(Text::new(&a).terminal() == Text::new(&b).terminal(), a == b);
        prop_assert_eq!(Text::from(r"\x1b").terminal() == Text::from("\x1b").terminal(), false);
    }
}
