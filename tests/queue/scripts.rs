//! The queue's Lua, each script by itself, on a real server.

use std::fs;
use std::path::Path;

use crate::support::Server;

/// A script that does not parse would be found by whoever needs it first.
#[test]
fn every_script_is_one_to_a_real_server() {
    let server = Server::start();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/queue/scripts");
    let read = |path: &Path| fs::read_to_string(path).expect("a script");
    let prelude = read(&folder.join("prelude.lua"));
    let mut seen = 0;
    for entry in fs::read_dir(folder).expect("the scripts") {
        let path = entry.expect("the scripts").path();
        let text = format!("{prelude}{}", read(&path));
        let digest = server.raw(["SCRIPT", "LOAD", &text]);
        assert_eq!(digest.len(), 40, "{}: {digest}", path.display());
        seen += 1;
    }
    assert!(seen > 10, "{seen} scripts");
}

/// What is packed into a sorted set comes out as it went in, whatever its bytes.
#[test]
fn a_delayed_message_keeps_every_byte() {
    let server = Server::start();
    let text = concat!(
        include_str!("../../src/queue/scripts/prelude.lua"),
        "local m = unpacked(pack({ i = ARGV[1], a = tonumber(ARGV[2]), k = ARGV[4], p = ARGV[3] }))\n\
         if m.i ~= ARGV[1] or m.a ~= tonumber(ARGV[2]) or m.p ~= ARGV[3] or m.k ~= ARGV[4] then return 'differs' end\n\
         return 'same'"
    );
    let every: Vec<u8> = (0..=255).collect();
    let payloads: [&[u8]; 5] = [b"", b":", b"1:2:3:x", b"\0\r\n", &every];
    for payload in payloads {
        for key in [None, Some(&b""[..]), Some(b":1:"), Some(&every)] {
            let mut words: Vec<&[u8]> =
                vec![b"EVAL", text.as_bytes(), b"0", b"00ff", b"7", payload];
            words.extend(key);
            assert_eq!(server.raw(words), "same", "{payload:?} {key:?}");
        }
    }
}
