//! Medians and ratios of figures made up here.

use super::*;
use crate::machine::Binaries;
use crate::point::Dataset;
use crate::stats::{Class, Tally};
use std::path::Path;
use std::time::{Duration, Instant};

const DATASET: Dataset = crate::goals::DATASET;

fn case(point: &str) -> Case {
    Case { dataset: DATASET, point: point.parse().unwrap() }
}

/// Runs with these rates in rounds 0, 1, ...; a latency is one over the rate.
pub(crate) fn measured(peer: Peer, case: Case, rates: &[f64]) -> Vec<Measurement> {
    let usage = |name: &str, cpu_us_per_operation| Usage {
        name: name.to_owned(),
        cpu_us_per_operation,
        cpu_percent: 50.0,
        resident_bytes: 1 << 20,
        written_bytes: 500,
    };
    let measurement = |(round, &operations_per_second): (usize, &f64)| {
        let origin = Instant::now();
        let mut tally = Tally::new(origin, Duration::from_millis(100));
        let latency = Duration::from_secs_f64(1.0 / operations_per_second.max(0.001));
        tally.record(Class::Read, latency, 100, origin + Duration::from_millis(50));
        Measurement {
            peer,
            case,
            round,
            operations_per_second,
            latency: tally.latency_of_all(),
            latency_of_reads: tally.latency(Class::Read),
            series: tally.series(),
            longest_gap_ms: 0.0,
            lag_p99_us: None,
            failures: 0,
            disk_written_bytes: Some(200),
            usage: vec![
                usage("leader", 1.0),
                usage("follower", 2.0),
                usage("follower (asked)", 3.0),
                usage("client", 4.0),
            ],
        }
    };
    rates.iter().enumerate().map(measurement).collect()
}

fn compare(points: &[&str], measurements: Vec<Measurement>) -> Comparison {
    let cases: Vec<Case> = points.iter().map(|point| case(point)).collect();
    let machine = Machine::describe(Path::new("/"), Binaries::default());
    let findings = Findings { measurements, ..Findings::default() };
    Comparison::new(machine, 1.0, 3, &cases, false, findings)
}

#[test]
fn a_ratio_has_the_medians_in_its_middle_and_the_rounds_at_its_ends() {
    let mut all = measured(Peer::KvorumOne, case("set-c50-p1"), &[70.0, 90.0, 40.0]);
    all.extend(measured(Peer::RedisAlways, case("set-c50-p1"), &[100.0, 90.0, 80.0]));
    let comparison = compare(&["set-c50-p1"], all);
    let [ratio] = comparison.ratios.as_slice() else { panic!("one pair was measured") };
    assert!((ratio.of_medians - 70.0 / 90.0).abs() < 1e-9);
    assert_eq!(ratio.in_rounds, Spread { median: 0.7, min: 0.5, max: 1.0 });
    assert!(!comparison.as_expected(), "a goal for this ratio is missed");
    assert!(comparison.to_string().contains("0.78  [0.50..1.00]"), "{comparison}");
}

#[test]
fn a_mix_is_held_against_peers_that_sync_and_failures_mark_a_ratio() {
    let mut all = measured(Peer::KvorumThree, case("mix-c50-p1"), &[60.0]);
    all.extend(measured(Peer::RedisWait, case("mix-c50-p1"), &[30.0]));
    all[1].failures = 7;
    let comparison = compare(&["mix-c50-p1"], all);
    let [ratio] = comparison.ratios.as_slice() else { panic!("one pair was measured") };
    assert_eq!((ratio.against, ratio.of_medians, ratio.failures), (Peer::RedisWait, 2.0, 7));
    assert!(comparison.to_string().contains("! 7 failed requests"), "{comparison}");
}

#[test]
fn reads_are_held_against_memory_and_rounds_that_miss_are_left_out() {
    let mut all = measured(Peer::KvorumThree, case("get-c50-p1"), &[60.0, 61.0]);
    all.extend(measured(Peer::RedisMemory, case("get-c50-p1"), &[100.0]));
    let comparison = compare(&["get-c50-p1"], all);
    let [ratio] = comparison.ratios.as_slice() else { panic!("one pair was measured") };
    assert_eq!((ratio.against, ratio.in_rounds.max), (Peer::RedisMemory, 0.6));
    let alone = compare(&["get-c50-p1"], measured(Peer::KvorumOne, case("get-c50-p1"), &[1.0]));
    assert_eq!((alone.ratios.len(), alone.summaries.len()), (0, 1));
    let dead = measured(Peer::RedisMemory, case("get-c50-p1"), &[0.0]);
    let all = [measured(Peer::KvorumThree, case("get-c50-p1"), &[1.0]), dead].concat();
    assert!(compare(&["get-c50-p1"], all).ratios.is_empty(), "nothing is divided by zero");
}

#[test]
fn a_read_from_a_follower_is_held_against_the_same_read_where_there_is_no_follower() {
    let follower = "get-c50-p1-follower";
    let mut all = measured(Peer::KvorumThree, case(follower), &[30.0]);
    all.extend(measured(Peer::RedisMemory, case("get-c50-p1"), &[100.0]));
    all.extend(measured(Peer::EtcdThree, case("get-c50-p1"), &[1.0]));
    all.extend(measured(Peer::EtcdThree, case(follower), &[10.0]));
    let ratios = compare(&[follower], all).ratios;
    let found: Vec<(Peer, f64)> =
        ratios.iter().map(|ratio| (ratio.against, ratio.of_medians)).collect();
    assert_eq!(found, [(Peer::RedisMemory, 0.3), (Peer::EtcdThree, 3.0)]);
}

#[test]
fn a_summary_has_every_process_and_says_when_the_client_was_busy() {
    let mut all = measured(Peer::KvorumThree, case("set-c50-p1"), &[10.0, 30.0, 20.0]);
    let quiet = compare(&["set-c50-p1"], all.clone());
    let [summary] = quiet.summaries.as_slice() else { panic!("one peer was measured") };
    assert_eq!(summary.operations_per_second.median, 20.0);
    let cpu: Vec<f64> = summary.used.iter().map(|used| used.cpu_us_per_operation.median).collect();
    assert_eq!(cpu, [1.0, 2.0, 3.0, 4.0]);
    assert_eq!(summary.used[0].written_bytes_per_operation.median, 5.0);
    assert_eq!(summary.disk_bytes_per_operation.unwrap().median, 2.0);
    assert!(!summary.client_was_busy());
    let text = quiet.to_string();
    assert!(text.contains("leader 1.00") && text.contains("follower (asked) 3.00"), "{text}");
    all.iter_mut().for_each(|one| one.usage[3].cpu_percent = 99.0);
    let busy = compare(&["set-c50-p1"], all);
    assert!(busy.summaries[0].client_was_busy());
    assert!(busy.to_string().contains("the client may be the limit"), "{busy}");
}

#[test]
fn trouble_is_not_as_expected_and_what_was_not_measured_is_named() {
    let mut comparison = compare(&["set-c50-p1"], Vec::new());
    assert!(comparison.as_expected());
    comparison.not_measured.push("etcd-3: etcd is not installed".to_owned());
    assert!(comparison.to_string().contains("not measured: etcd-3"), "{comparison}");
    comparison.trouble.push("kvorum-1 ended".to_owned());
    assert!(!comparison.as_expected());
    assert!(comparison.to_string().contains("! kvorum-1 ended"));
}

#[test]
fn json_and_page_hold_the_figures_and_need_nothing_else() {
    let mut all = measured(Peer::KvorumThree, case("set-c50-p1"), &[12_345.0]);
    all.extend(measured(Peer::RedisWait, case("set-c50-p1"), &[10_000.0]));
    let comparison = compare(&["set-c50-p1"], all);
    let json = serde_json::to_value(&comparison).unwrap();
    assert_eq!(json["measurements"][0]["operations_per_second"], 12_345.0);
    assert_eq!(json["summaries"][0]["point"], "set-c50-p1");
    assert!(json["machine"]["command"].is_string());
    let page = comparison.page().to_string();
    for part in ["<svg", "set-c50-p1", "kvorum-3", "redis-wait", "Latency over throughput"] {
        assert!(page.contains(part), "{part}");
    }
    for outside in ["http://", "https://", "<script src", "<link", "@import"] {
        assert!(!page.replace("http://www.w3.org/2000/svg", "").contains(outside), "{outside}");
    }
}

#[test]
fn points_of_several_datasets_are_told_apart() {
    let small = case("set-c50-p1");
    let large = Case { dataset: Dataset { keys: 77, value_bytes: 9 }, ..small };
    let page = |cases: &[Case]| {
        let each = cases.iter().flat_map(|&case| measured(Peer::KvorumOne, case, &[70.0]));
        let findings = Findings { measurements: each.collect(), ..Findings::default() };
        let machine = Machine::describe(Path::new("/"), Binaries::default());
        Comparison::new(machine, 1.0, 1, cases, false, findings).page().to_string()
    };
    let named = |page: &str, case: Case| {
        page.contains(&format!(">{}, {}</text>", case.point, case.dataset))
    };
    let both = page(&[small, large]);
    assert!(both.contains(">set-c50-p1, 77 keys, values of 9 bytes</text>"), "{both}");
    assert!(named(&both, small));
    assert!(page(&[small]).contains(">set-c50-p1</text>"));
}
