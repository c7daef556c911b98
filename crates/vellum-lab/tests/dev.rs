use vellum::arch::Tiny;
use vellum_lab::model::sequence::run_seeds_under_pressure;
#[test]
fn dev() {
    let count = std::env::var("N").map_or(2000, |n| n.parse().unwrap());
    let tags = std::env::var("TAGS").is_ok();
    let first = std::env::var("SEED").map_or(0, |n| n.parse().unwrap());
    match run_seeds_under_pressure::<Tiny>(first..first + count, tags, None) {
        Ok(stats) => println!("{stats}"),
        Err(report) => println!("FAILED {report}"),
    }
}
