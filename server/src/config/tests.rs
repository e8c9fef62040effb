//! Tests of the table, the sources and CONFIG's view of them.

use super::*;

fn from(
    file: Option<&str>,
    env: &[(&str, &str)],
    flags: &[(&str, &str)],
) -> Result<Settings, String> {
    let own = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kvorum.toml");
    if let Some(text) = file {
        std::fs::write(&path, text).unwrap();
    }
    let env = own(env).into_iter().map(|(name, value)| (name.into(), value.into()));
    let settings = Settings::from_sources(file.map(|_| path.as_path()), env, &own(flags));
    settings.map_err(|error| error.to_string().replace(&path.display().to_string(), "FILE"))
}

fn value(settings: &Settings, name: &str) -> String {
    settings.get(&[name.as_bytes()]).remove(0).1
}

#[test]
fn every_default_fits_its_row_and_every_name_is_unique_and_plain() {
    let mut seen = BTreeSet::new();
    for setting in all() {
        for name in [Some(setting.name), setting.alias].into_iter().flatten() {
            assert!(seen.insert(name), "{name} is there twice");
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{name}");
        }
        assert!(setting.doc.ends_with('.'), "{}: its doc is a sentence", setting.name);
        if !matches!(setting.kind, Kind::Derived { .. }) {
            let parsed = setting.kind.parse(&mut Values::blank(), setting.default);
            assert_eq!(parsed, Ok(()), "{}", setting.name);
        }
    }
    assert_eq!(check(&defaults()), Ok(()));
}

#[test]
fn threads_and_who_uses_them_follow_the_cores_unless_they_are_given() {
    use super::values::{connection_threads_on, spreads_all_clients_on};
    let on = |cores| (connection_threads_on(cores), spreads_all_clients_on(cores));
    let expected = [(1, false), (2, false), (2, false), (2, true), (2, true), (3, true), (3, true)];
    assert_eq!([1, 2, 3, 4, 5, 6, 7].map(on), expected);
    assert_eq!([8, 64].map(on), [(4, true); 2]);
    let mut given = defaults();
    given.io_threads = 3;
    assert_eq!((given.connection_threads(), given.spreads_all_clients()), (3, true));
}

#[test]
fn what_is_shown_can_be_given_again() {
    for setting in all().filter(|setting| !matches!(setting.kind, Kind::Derived { .. })) {
        let mut values = defaults();
        let shown = setting.kind.show(&values);
        setting.kind.parse(&mut values, &shown).unwrap();
        assert_eq!(values, defaults(), "{}", setting.name);
    }
}

#[test]
fn only_variables_of_its_own_have_to_be_text_and_no_value_is_shown() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let given = |name: &str| {
        let value = OsStr::from_bytes(b"hush\xff").to_owned();
        Settings::from_sources(None, [(name.into(), value)], &[])
    };
    assert!(given("HOME").is_ok());
    let error = given("KVORUM_REQUIREPASS").err().unwrap().to_string();
    assert_eq!(error, "environment variable KVORUM_REQUIREPASS: its value is not UTF-8");
}

#[test]
fn later_sources_win() {
    let file = "maxclients = 11\ntimeout = 12\nprotected-mode = false\njoin = [\"a:1\", \"b:2\"]";
    let env = [("KVORUM_TIMEOUT", "22"), ("KVORUM_LOG_CACHE_BYTES", "2mb"), ("HOME", "/root")];
    let settings = from(Some(file), &env, &[("log-cache-bytes", "3mb")]).unwrap();
    let values = settings.load();
    assert_eq!((values.maxclients, values.timeout_s, values.log_cache_bytes), (11, 22, 3 << 20));
    assert!(!values.protected_mode);
    assert_eq!(values.join_addresses(), ["a:1", "b:2"]);
    assert_eq!(settings.source(find("timeout").unwrap()), Source::Environment);
    assert_eq!(
        settings.source(find("hz-is-no-setting").unwrap_or(&SETTINGS[0][0])),
        Source::Default
    );
}

#[test]
fn mistakes_are_named_and_the_nearest_name_is_suggested() {
    let error = |file, env, flags| from(file, env, flags).err().unwrap();
    assert_eq!(
        error(Some("maxclient = 3"), &[], &[]),
        "configuration file: unknown setting 'maxclient'; did you mean 'maxclients'?"
    );
    assert_eq!(
        error(None, &[("KVORUM_DATA_DIRS", "x")], &[]),
        "environment: unknown setting 'data-dirs'; did you mean 'data-dir'?"
    );
    assert_eq!(
        error(None, &[], &[("qqqqqqqqqqqqqqqqqqqqqq", "x")]),
        "command line: unknown setting 'qqqqqqqqqqqqqqqqqqqqqq'"
    );
    assert_eq!(
        error(None, &[], &[("maxclients", "0")]),
        "command line: setting 'maxclients': argument must be between 1 and 4294967295 inclusive"
    );
    assert_eq!(
        error(Some("a = \n"), &[], &[]).split(':').take(2).collect::<String>(),
        "configuration file FILE line 1"
    );
    let crossed = error(None, &[], &[("election-timeout-min-ms", "2000")]);
    assert!(crossed.starts_with("election-timeout-min-ms must be less than"), "{crossed}");
    let short = error(None, &[], &[("election-timeout-min-ms", "900")]);
    assert!(short.starts_with("election-timeout-min-ms must be more than half of"), "{short}");
}

#[test]
fn config_get_matches_patterns_and_aliases() {
    let settings = Settings::default();
    let names = |patterns: &[&str]| -> Vec<String> {
        let patterns: Vec<&[u8]> = patterns.iter().map(|pattern| pattern.as_bytes()).collect();
        settings.get(&patterns).into_iter().map(|(name, _)| name).collect()
    };
    assert_eq!(names(&["MAXC*", "maxclients"]), ["maxclients"]);
    assert_eq!(names(&["*-read-only"]), ["replica-read-only", "slave-read-only"]);
    assert_eq!(names(&["nothing"]), [""; 0]);
    let aliases = all().filter(|setting| setting.alias.is_some()).count();
    assert_eq!(names(&["*"]).len(), all().count() + aliases);
    assert_eq!(names(&["DATABASES", "databases"]), ["DATABASES"]);
    assert_eq!(value(&settings, "proto-max-bulk-len"), "536870912");
    assert_eq!(value(&settings, "port"), "6379");
    assert_eq!(
        value(&settings, "client-output-buffer-limit"),
        "normal 1073741824 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60"
    );
}

#[test]
fn config_set_is_all_or_nothing_with_redis_texts() {
    let settings = Settings::default();
    let mut changes = settings.changes();
    let error = |pairs: &[(&str, &str)]| settings.set(pairs).unwrap_err().to_string();
    let failed = |name: &str, why: &str| {
        format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {why}")
    };
    assert_eq!(
        error(&[("foo", "1")]),
        "ERR Unknown option or number of arguments for CONFIG SET - 'foo'"
    );
    let not_a_number = "argument couldn't be parsed into an integer";
    assert_eq!(error(&[("timeout", "5"), ("maxclients", "x")]), failed("maxclients", not_a_number));
    assert_eq!(settings.load().timeout_s, 0, "nothing was changed");
    assert_eq!(error(&[("databases", "3")]), failed("databases", "can't set immutable config"));
    let twice = [("slave-read-only", "yes"), ("replica-read-only", "yes")];
    assert_eq!(error(&twice), failed("replica-read-only", "duplicate parameter"));
    assert_eq!(
        error(&[("maxmemory", "1gb")]),
        failed(
            "maxmemory",
            "only '0' is possible: data may be larger than memory; caches have limits of their own"
        )
    );
    assert!(!changes.has_changed().unwrap());
    settings.set(&[("TIMEOUT", "5"), ("maxmemory", "0")]).unwrap();
    assert_eq!(settings.load().timeout_s, 5);
    assert!(changes.has_changed().unwrap());
    changes.mark_unchanged();
}

#[test]
fn output_limits_change_class_by_class() {
    let settings = Settings::default();
    settings.set(&[("client-output-buffer-limit", "normal 1mb 512kb 3 replica 0 0 0")]).unwrap();
    let limits = settings.load().client_output_limits;
    assert_eq!(
        limits.normal,
        OutputLimit { hard_bytes: 1 << 20, soft_bytes: 512 << 10, soft_seconds: 3 }
    );
    assert_eq!((limits.replica.hard_bytes, limits.pubsub.hard_bytes), (0, 32 << 20));
}

#[test]
fn memory_has_redis_units() {
    let cases = [("1k", 1000), ("1Kb", 1024), ("3m", 3_000_000), ("1gb", 1 << 30), ("7b", 7)];
    for (text, bytes) in cases {
        assert_eq!(parse_memory(text), Some(bytes), "{text}");
    }
    for text in ["", "kb", "1q", "-1", "1.5gb", "99999999999gb"] {
        assert_eq!(parse_memory(text), None, "{text}");
    }
    assert_eq!((show_memory(0), show_memory(64 << 20)), ("0".to_owned(), "64mb".to_owned()));
}

#[test]
fn the_printed_file_can_be_read_and_hides_secrets() {
    let settings = from(None, &[], &[("requirepass", "hush"), ("timeout", "7")]).unwrap();
    assert!(!format!("{:?}", settings.load()).contains("hush"));
    let text = settings.to_toml();
    assert!(!text.contains("hush"));
    let again = from(Some(&text), &[], &[]).unwrap();
    assert_eq!(again.load().timeout_s, 7);
    assert_eq!(again.load().maxclients, settings.load().maxclients);
    from(Some(&sample_toml()), &[], &[]).unwrap();
    for path in ["a\0b", "\u{7f}", "say \"so\"", "back\\slash", "line\nend", "ä'\u{e000}"] {
        let text = from(None, &[], &[("data-dir", path)]).unwrap().to_toml();
        assert_eq!(from(Some(&text), &[], &[]).unwrap().load().data_dir, path, "{text}");
    }
}

#[test]
fn addresses_are_taken_apart() {
    let settings = from(None, &[], &[("listen", "[::1]:7000"), ("advertise", "db1:70")]).unwrap();
    let values = settings.load();
    assert_eq!(values.listen_address(), ("::1".to_owned(), 7000));
    assert_eq!(values.advertise_address(), ("db1".to_owned(), 70));
    assert_eq!(values.peer_listen_address(), ("::1".to_owned(), 17000));
    assert!(from(None, &[], &[("listen", "60000")]).is_err());
    assert!(from(None, &[], &[("listen", "a:60000")]).is_err());
    assert!(from(None, &[], &[("listen", "a:60000"), ("peer-listen", "a:60001")]).is_ok());
}
