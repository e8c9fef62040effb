//! Times the pieces by themselves: `cargo bench-micro [NAME]`.
//!
//! Throughput is in units of the piece (SET, GET, replies) per second; time is that of a round of 64.
//! `log-append` waits for the disk, one entry at a time: it is a latency, not a capacity.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kvorum_bench::pieces::{PIECES, UNITS};

fn pieces(criterion: &mut Criterion) {
    for piece in &PIECES {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let mut round = (piece.prepare)(folder.path());
        let mut group = criterion.benchmark_group("pieces");
        group.throughput(Throughput::Elements(UNITS));
        group.bench_function(piece.name, |bencher| bencher.iter(&mut round));
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(std::time::Duration::from_millis(500))
        .measurement_time(std::time::Duration::from_secs(2))
        .sample_size(30);
    targets = pieces
}
criterion_main!(benches);
