use vellum_lab::scenario::*;
fn main() {
    let id = std::env::args().nth(1).unwrap();
    let off = std::env::args().nth(2);
    let scenario = vellum_lab::scenarios::find(&id).unwrap();
    let modes: Vec<Mode> = match std::env::var("ARCH") {
        Ok(names) => names.split(",").map(|n| n.parse().unwrap()).collect(),
        Err(_) => scenario.modes(),
    };
    for mode in modes {
        let mut c = Check::new(scenario, mode);
        c.time = Some(std::time::Duration::from_secs(60));
        if off.is_some() {
            c.guards_off = scenario.guards.to_vec();
        }
        match check(&c) {
            Ok(f) => {
                println!(
                    "{mode}: {} schedules exhaustive {} {:.2}s {:?}",
                    f.schedules,
                    f.exhaustive,
                    f.seconds,
                    f.violation.as_ref().map(|v| (v.0.clone(), v.1.to_string()))
                );
                if let Some((_, s)) = f.violation {
                    match replay(&c, &s) {
                        Ok((b, t)) => println!("{t}\n{b:?}"),
                        Err(e) => println!("replay: {e}"),
                    }
                }
            }
            Err(e) => println!("{mode}: ERROR {e}"),
        }
    }
}
