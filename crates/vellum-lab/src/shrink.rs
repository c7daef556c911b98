//! Making a failing sequence of operations short: fewer operations first, then plainer ones.

/// The shortest and plainest sequence found for which `fails` still holds; it must hold for `ops`. `simpler` gives
/// operations that are plainer than another in one respect each, the plainest last.
pub fn shrink<Op: Copy + PartialEq>(
    ops: &[Op],
    simpler: impl Fn(Op) -> Vec<Op>,
    mut fails: impl FnMut(&[Op]) -> bool,
) -> Vec<Op> {
    let mut ops = ops.to_vec();
    loop {
        let before = ops.clone();
        remove_chunks(&mut ops, &mut fails);
        simplify(&mut ops, &simpler, &mut fails);
        if ops == before {
            return ops;
        }
    }
}

fn remove_chunks<Op: Copy>(ops: &mut Vec<Op>, fails: &mut impl FnMut(&[Op]) -> bool) {
    let mut size = ops.len().next_power_of_two() / 2;
    while size > 0 {
        // From the end: what comes last depends on what comes first.
        let mut end = ops.len();
        while end > 0 {
            let start = end.saturating_sub(size);
            let mut shorter = ops.clone();
            shorter.drain(start..end);
            if fails(&shorter) {
                *ops = shorter;
            }
            end = start;
        }
        size /= 2;
    }
}

fn simplify<Op: Copy>(ops: &mut [Op], simpler: &impl Fn(Op) -> Vec<Op>, fails: &mut impl FnMut(&[Op]) -> bool) {
    for index in 0..ops.len() {
        let mut candidates = simpler(ops[index]);
        while let Some(candidate) = candidates.pop() {
            let kept = std::mem::replace(&mut ops[index], candidate);
            if fails(ops) {
                candidates = simpler(candidate);
            } else {
                ops[index] = kept;
            }
        }
    }
}
