//! Tests of what is cut, and where.

use proptest::prelude::*;

use super::*;

#[test]
fn an_aside_is_cut_between_words() {
    let why = "(made at run time, and there is no /tmp/perf-77.map)";
    for (room, cut) in [
        (60, why),
        (50, "(made at run time, and there is no …)"),
        (30, "(made at run time, and …)"),
        (23, "(made at run time …)"),
        (4, "…"),
    ] {
        assert_eq!(aside(why, room), cut, "{room}");
        assert!(width(cut) <= room.max(1));
    }
}

#[test]
fn long_names_lose_parameters_first_and_the_end_of_the_function_last() {
    for (long, room, short) in [
        ("chat::History::push", 19, "chat::History::push"),
        ("std::vector<Foo, std::allocator<Foo> >::push_back(Foo const&)", 30, "std::vector<…>::push_back"),
        ("<game::Room as game::Tick>::run", 31, "<game::Room as game::Tick>::run"),
        ("(anonymous namespace)::handle(int, int)", 33, "(anonymous namespace)::handle"),
        ("Foo::operator<<(std::ostream&, int)", 20, "Foo::operator<<"),
        ("Foo::operator()(int, long, long)", 20, "Foo::operator()"),
        ("Foo::operator->(int, long, long)", 20, "Foo::operator->"),
        ("foo<fn(A) -> B>::go", 12, "foo<…>::go"),
        ("game::world::region::ChunkStore::load_from_disk", 31, "…::ChunkStore::load_from_disk"),
        ("game::world::region::ChunkStore::load_from_disk", 24, "game::…::load_from_disk"),
        ("game::world::region::ChunkStore::load_from_disk", 17, "…::load_from_disk"),
        ("game::world::region::ChunkStore::load_from_disk", 10, "load_from…"),
        (
            "node::Buffer::(anonymous namespace)::CreateUnsafeArrayBuffer",
            54,
            "node::Buffer::…::CreateUnsafeArrayBuffer",
        ),
        // A second `…` would add nothing.
        ("game::Map<int, long>::Node<int, long>::insert", 33, "game::Map::Node::insert"),
        ("push /srv/game/scripts/chat.js:4:1", 26, "push …/scripts/chat.js:4:1"),
        ("push /srv/game/scripts/chat.js:4:1", 9, "push /sr…"),
        ("f()", 2, "f"),
        ("foo::bar", 2, "b…"),
        ("abc", 1, "…"),
        (
            "pong::sessions::SessionStore::connect  sessions.rs:53",
            53,
            "pong::sessions::SessionStore::connect  sessions.rs:53",
        ),
        ("pong::sessions::SessionStore::connect  sessions.rs:53", 26, "pong::…::connect:53"),
        ("pong::server::host › {async_fn#0}  server.rs:133", 40, "pong::server::host  server.rs:133"),
        ("pong::server::host › {async_fn#0}  server.rs:133", 18, "pong::…::host:133"),
        ("push  called by game::tick", 22, "push  called by tick"),
        ("game::chat::push  called by game::tick", 22, "push  called by tick"),
        ("f  x:1", 3, "f:1"),
        ("processMultibulkBuffer  at 0x88863", 18, "proce…  at 0x88863"),
        ("push  /srv/game/lib/libchat.so", 20, "push  libchat.so"),
        ("jdk.internal.misc.Unsafe.allocateMemory", 30, "…misc.Unsafe.allocateMemory"),
        (
            "jdk.internal.misc.Unsafe.allocateMemory  its Java callers cannot be seen",
            40,
            "…Unsafe.allocateMemory  callers unseen",
        ),
        ("libstdc++.so.6.0.30+0xa57b9", 20, "libstdc++.so.6.0.30…"),
    ] {
        assert_eq!(name(long, room), short);
    }
}

#[test]
fn paths_keep_their_end() {
    assert_eq!(path("/home/dev/game/src/room.rs:41", 16), "…/src/room.rs:41");
    assert_eq!(path("/home/dev/game/src/room.rs:41", 15), "…/room.rs:41");
    assert_eq!(path("/home/dev/game/src/room.rs:41", 8), "…m.rs:41");
    assert_eq!(name("/srv/redis/appendonlydir/appendonly.aof.1.incr.aof", 30), "…/appendonly.aof.1.incr.aof");
    assert_eq!(name("/srv/world(2)/<level>.db (deleted)", 24), "…/<level>.db (deleted)");
}

#[test]
fn text_is_broken_at_spaces_or_else_anywhere() {
    assert_eq!(lines("one two three", 7), ["one two", "three"]);
    assert_eq!(lines("abcdefgh ij", 4), ["abcd", "efgh", "ij"]);
    assert_eq!(lines("", 4), [""]);
    assert_eq!(lines("took 212 ns in all", 10), ["took", "212 ns in", "all"]);
    assert_eq!(lines("a  b 7", 3), ["a ", "b 7"]);
    assert_eq!(lines("玩家登录", 5), ["玩家", "登录"]);
}

proptest! {
    // The widest character (U+17D8) takes three columns, and a line cannot have less than one character.
    #[test]
    fn nothing_is_wider_than_its_room(text in "\\PC{0,60}", room in 3usize..40) {
        // Hidden characters are escaped before text gets here; one of them would widen the character before it.
        let text = text.replace(crate::text::is_hidden, "");
        let short = name(&text, room);
        prop_assert!(width(&short) <= room);
        prop_assert!(text.contains('…') || short.matches('…').count() <= 1, "{short}");
        prop_assert!(width(&path(&text, room)) <= room);
        prop_assert!(width(&start(&text, room - 2)) <= room - 2);
        for line in lines(&text, room) {
            prop_assert!(width(&line) <= room, "{line:?}");
        }
    }
}
