//! The machinery must bite: wrong expectations have to fail, against a small scripted server.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::thread;

use super::*;

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

fn check_match(expected: &str, got: &str, same: bool) {
    let result = pattern::matches(&lines(expected), &lines(got));
    assert_eq!(result, same, "expected:\n{expected}\ngot:\n{got}");
}

/// A server that answers FLUSHALL with OK, GET with `value`, QUIT by closing; all else with `:1`.
fn serve(value: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("bound").to_string();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(count) = stream.read(&mut buffer) {
                    let request = String::from_utf8_lossy(&buffer[..count]).into_owned();
                    let reply: &[u8] = match request.split("\r\n").nth(2) {
                        Some("FLUSHALL") => b"+OK\r\n",
                        Some("GET") => value,
                        Some("QUIT") | None => break,
                        Some(_) => b":1\r\n",
                    };
                    if stream.write_all(reply).is_err() {
                        break;
                    }
                }
                let _ = stream.shutdown(Shutdown::Both);
            });
        }
    });
    addr
}

fn run_text(text: &str, value: &'static [u8]) -> run::Outcome {
    let script = Script::parse(text).expect("a good script");
    run::run(&script, &serve(value), Target::Redis)
}

fn check_run(text: &str, value: &'static [u8], problem_lines: &[usize]) {
    let problems = run_text(text, value).problems();
    let found: Vec<_> = problems.iter().map(|problem| problem.line).collect();
    assert_eq!(found, problem_lines, "{problems:?}");
}

fn check_bad_script(text: &str, line: usize) {
    let problem = Script::parse(text).expect_err("a bad script was accepted");
    assert_eq!(problem.line, line, "{problem:?}");
}

#[test]
fn words_are_split_as_in_redis_cli() {
    let split = |line| words::split(line).expect("good words");
    assert_eq!(split("SET k \"a b\\x00\\n\\\"\""), [&b"SET"[..], b"k", b"a b\x00\n\""]);
    assert_eq!(split("ECHO 'it\\'s \\x41' \"\""), [&b"ECHO"[..], br"it's \x41", b""]);
    assert_eq!(split("\"ab\"*3 x*2"), [&b"ababab"[..], b"x*2"]);
    assert!(words::split("\"open").is_err());
    assert!(words::split("\"a\"b").is_err());
    assert!(words::split("\"a\"*x").is_err());
    assert!(words::split("\"a\"*99999999999").is_err());
}

#[test]
fn every_byte_string_has_its_own_quoted_form() {
    let all: Vec<u8> = (0..=255).collect();
    let long = vec![b'\n'; 5000];
    for bytes in [&all[..], b"", b"\\x41", b"A", b"\"*3", &long] {
        assert_eq!(words::split(&words::quote(bytes)).expect("quoted"), [bytes]);
    }
    assert_eq!(words::quote(&[b'x'; 70_000]), "\"x\"*70000");
}

#[test]
fn exact_lines_match_only_themselves() {
    check_match("+OK", "+OK", true);
    check_match("+OK", "+OK ", false);
    check_match("+OK", "-OK", false);
    check_match("$1 \"a\"", "$2 \"a\"", false);
    check_match("*1\n  :1", "*1\n  :2", false);
    check_match("*1\n  :1", "*1\n:1", false);
    check_match("*1\n  :1", "*1", false);
    check_match("", "+OK", false);
    check_match("+OK", "", false);
    check_match("+OK", "+OK\n+OK", false);
}

#[test]
fn placeholders_match_what_they_name() {
    check_match(":<int>", ":-12", true);
    check_match(":<int>", ":", false);
    check_match(":<int>", ":1x", false);
    check_match(":<int 90..100>", ":90", true);
    check_match(":<int 90..100>", ":100", true);
    check_match(":<int 90..100>", ":101", false);
    check_match(":<int -5..-1>", ":-1", true);
    check_match(":<int 9>", ":9", false);
    check_match(",<float>", ",3.5e2", true);
    check_match(",<float>", ",x", false);
    check_match("+<id>", "+0123456789abcdef0123456789abcdef01234567", true);
    check_match("+<id>", "+0123456789abcdef0123456789abcdef0123456", false);
    check_match("$<int> \"a=<int> b=<any>\"", "$9 \"a=1 b=x y\"", true);
    check_match("$<int> \"a=<int> b=<any>\"", "$9 \"a= b=x y\"", false);
    check_match("<bulk>", "$3 \"abc\"", true);
    check_match("<bulk>", "=7 \"txt:abc\"", true);
    check_match("<bulk>", "$-1", false);
    check_match("<bulk>", "+abc", false);
}

#[test]
fn whole_elements_and_rests_are_matched_by_depth() {
    check_match("*2\n  <reply>\n  :2", "*2\n  *2\n    :8\n    :9\n  :2", true);
    check_match("*2\n  <reply>\n  :2", "*2\n  *2\n    :8\n    :9\n  :3", false);
    check_match("*1\n  <reply>", "*1", false);
    check_match("*<int>\n  :1\n  ...", "*3\n  :1\n  *1\n    :4\n  :5", true);
    check_match("*<int>\n  ...\n  :5", "*3\n  :1\n  *1\n    :4\n  :5", true);
    check_match("*<int>\n  ...\n  :6", "*3\n  :1\n  *1\n    :4\n  :5", false);
    check_match("*0\n  ...", "*0\n+OK", false);
    check_match("*0\n  ...", "*0", true);
}

#[test]
fn received_text_is_never_a_placeholder() {
    for content in ["<int>", "<any>", "a <int 1..2> <proto>", "...", "<bulk>", "<reply>"] {
        let element = wire::Element::Line(format!("+{content}").into_bytes());
        let shown = render::render(&element, render::View::Exact);
        assert!(pattern::matches(&shown, &shown), "{shown:?}");
        let other = lines("+12");
        assert!(!pattern::matches(&shown, &other), "{shown:?}");
    }
    assert_eq!(pattern::protect("HELLO <proto> <int>"), "HELLO <proto> \\x3cint>");
}

#[test]
fn a_passing_script_passes_and_each_wrong_line_is_found() {
    check_run("== a\n> GET k\n$2 \"hi\"\n> INCR k\n:1\n", b"$2\r\nhi\r\n", &[]);
    check_run("== a\n> GET k\n$2 \"ho\"\n> INCR k\n:2\n", b"$2\r\nhi\r\n", &[2, 4]);
    check_run("== a\n> GET k\n\n> INCR k\n:1\n", b"$2\r\nhi\r\n", &[2]);
    check_run("== a\n> INCR k\n:1\n:1\n", b"", &[2]);
    check_run("== a\n> QUIT\nclosed\n> QUIT\n+OK\n", b"", &[4]);
    check_run("== a\n> INCR k\n:1\n> !silent\nsilent\n", b"", &[]);
    check_run("== a\n> !send INCR k\n> !silent\nsilent\n", b"", &[3]);
    check_run("== a\n> !times 3 INCR k{i}\n:2\n", b"", &[2]);
}

#[test]
fn bytes_that_are_no_reply_are_a_problem_even_when_recording() {
    for value in [&b"hello\r\n"[..], b"$x\r\n", b"$3\r\nabcdef\r\n", b"\r\n"] {
        let outcome = run_text("== a\n> GET k\n<reply>\n> INCR k\n:1\n", value);
        assert_eq!(outcome.impossible().len(), 1, "{value:?}");
    }
}

#[test]
fn replies_of_both_protocols_are_shown_element_by_element() {
    let value = b"*3\r\n%1\r\n+a\r\n#t\r\n~1\r\n,1.5\r\n>2\r\n_\r\n=5\r\ntxt:x\r\n";
    let script =
        "== a\n> GET k\n*3\n  %1\n    +a\n    #t\n  ~1\n    ,1.5\n  >2\n    _\n    =5 \"txt:x\"\n";
    check_run(script, value, &[]);
    check_run(&script.replace("#t", "#f"), value, &[2]);
}

#[test]
fn a_space_at_the_end_of_a_line_is_visible() {
    check_run("== a\n> GET k\n-ERR x\\x20\n", b"-ERR x \r\n", &[]);
    check_run("== a\n> GET k\n-ERR x\n", b"-ERR x \r\n", &[2]);
}

#[test]
fn views_sort_and_split() {
    let value = b"*4\r\n$1\r\nb\r\n$1\r\n1\r\n$1\r\na\r\n$1\r\n2\r\n";
    let sorted = "== a\n> !sorted GET k\n*4\n  $1 \"1\"\n  $1 \"2\"\n  $1 \"a\"\n  $1 \"b\"\n";
    let pairs = "== a\n> !sorted-pairs GET k\n*4\n  $1 \"a\"\n  $1 \"2\"\n  $1 \"b\"\n  $1 \"1\"\n";
    check_run(sorted, value, &[]);
    check_run(pairs, value, &[]);
    let split = "== a\n> !lines GET k\n$ lines\n  \"x:1\\r\\n\"\n  ...\n  \"z\"\n";
    check_run(split, b"$11\r\nx:1\r\ny\r\n\r\nz\r\n", &[]);
    check_run(&split.replace("x:1", "x:2"), b"$11\r\nx:1\r\ny\r\n\r\nz\r\n", &[2]);
}

#[test]
fn recording_keeps_what_matches_and_replaces_the_rest() {
    let text = "# head\n== a\n> GET k\n*2\n  :<int>\n  :5\n# tail\n> INCR k\n:<int>\n> INCR k\n";
    let script = Script::parse(text).expect("a good script");
    let outcome = run::run(&script, &serve(b"*2\r\n:7\r\n:6\r\n"), Target::Redis);
    let wanted =
        "# head\n== a\n> GET k\n*2\n  :<int>\n  :6\n# tail\n> INCR k\n:<int>\n> INCR k\n:1\n";
    assert_eq!(outcome.recorded(&script), wanted);
}

#[test]
fn cases_for_another_target_do_not_run() {
    let text = "== a\n@kvorum-only a reason\n> INCR k\n:2\n== b\n> INCR k\n:2\n";
    check_run(text, b"", &[6]);
    let script = Script::parse("@kvorum-only a reason\n== a\n> INCR k\n").expect("good");
    assert!(script.is_for(Target::Kvorum));
    assert!(!script.is_for(Target::Redis));
    assert!(!script.leader_only);
    let script = Script::parse("@leader-only a reason\n== a\n> INCR k\n").expect("good");
    assert!(script.leader_only);
}

#[test]
fn bad_scripts_are_refused_with_their_line() {
    check_bad_script("> GET k\n", 1);
    check_bad_script("== a\n+OK\n", 2);
    check_bad_script("== a\n> !unknown\n", 2);
    check_bad_script("== a\n> !sleep\n", 2);
    check_bad_script("== a\n> !sleep 5\n+OK\n", 2);
    check_bad_script("== a\n> GET \"k\n", 2);
    check_bad_script("@redis-only\n== a\n", 1);
    check_bad_script("@unknown thing\n== a\n", 1);
    check_bad_script("== a\n> GET k\n@redis-only late\n", 3);
    check_bad_script("== a\n@leader-only not in the header\n", 2);
    check_bad_script("# nothing\n", 1);
}

#[test]
fn variables_and_the_clock_are_put_into_arguments() {
    let text = "== a\n> !let n GET x\n:42\n> GET {n} {tag} {now_s+10}\n:42\n";
    check_run(text, b":42\r\n", &[]);
}
