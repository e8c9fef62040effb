//! Any line: no panic, never longer than the line, and its words quoted again give the same words.

#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::inline::parse_inline;

fuzz_target!(|line: &[u8]| {
    let Ok(request) = parse_inline(line) else {
        return;
    };
    assert!(request.payload_bytes() <= line.len());
    let mut quoted = Vec::new();
    for word in request.iter() {
        quoted.push(b'"');
        quoted.extend(
            word.iter()
                .flat_map(|byte| format!("\\x{byte:02x}").into_bytes()),
        );
        quoted.extend_from_slice(b"\" ");
    }
    let again = parse_inline(&quoted).expect("every word is quoted");
    assert!(again.iter().eq(request.iter()));
});
