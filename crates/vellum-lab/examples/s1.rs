use vellum_lab::scenario::*;
fn main() {
    let mut draw = false;
    for id in std::env::args().skip(1) {
        if id == "draw" {
            draw = true;
            continue;
        }
        let Some(s) = vellum_lab::scenarios::find(&id) else {
            println!("{id}: none");
            continue;
        };
        for mode in s.modes() {
            let mut sets = vec![vec![]];
            sets.extend(s.guards.iter().map(|&g| vec![g]));
            for off in sets {
                let mut c = Check::new(s, mode).without(&off);
                c.time = Some(std::time::Duration::from_secs(60));
                match check(&c) {
                    Ok(f) => {
                        let want = if off.is_empty() { false } else { (s.breaks)(mode) };
                        let ok = f.violation.is_some() == want && (want || f.exhaustive);
                        println!(
                            "{} {id:4} {mode:16} {:40} {:7} schedules exh {} {:.2}s {:?}",
                            if ok { "ok " } else { "BAD" },
                            format!("{off:?}"),
                            f.schedules,
                            f.exhaustive,
                            f.seconds,
                            f.violation.as_ref().map(|v| (v.0.invariant.clone(), v.0.detail.clone(), v.1.to_string()))
                        );
                        if let Some((_, sch)) = f.violation
                            && (draw || !ok)
                        {
                            match replay(&c, &sch) {
                                Ok((_, t)) => println!("{t}"),
                                Err(e) => println!("replay: {e}"),
                            }
                        }
                    }
                    Err(e) => println!("BAD {id} {mode} {off:?}: ERROR {e}"),
                }
            }
        }
    }
}
