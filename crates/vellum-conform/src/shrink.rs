//! Making a sequence on which both sides differ short: which operations are plainer.

use crate::abi::*;
use crate::arena::PAGE;
use crate::op::{Call, Op};

/// The shortest and plainest sequence found for which `differs` still holds; it must hold for `ops`. Never none.
pub fn shrink(ops: &[Op], mut differs: impl FnMut(&[Op]) -> bool) -> Vec<Op> {
    vellum_lab::shrink::shrink(ops, simpler, |ops| !ops.is_empty() && differs(ops))
}

/// Operations that are plainer than `op` in one respect each, the plainest last.
fn simpler(op: Op) -> Vec<Op> {
    let calls = simpler_calls(op.call).into_iter().filter(|call| *call != op.call);
    let mut found: Vec<Op> = calls.map(|call| Op { call, ..op }).collect();
    found.push(Op { process: 0, ..op });
    found.push(Op { pressure: 0, ..op });
    found.retain(|simpler| *simpler != op);
    found
}

fn simpler_calls(call: Call) -> Vec<Call> {
    match call {
        Call::Map { address, length, prot, flags, file, offset } => {
            let map = |length, prot, flags, file, offset| Call::Map { address, length, prot, flags, file, offset };
            let mut found: Vec<Call> = lengths(length).map(|length| map(length, prot, flags, file, offset)).collect();
            let optional = [MAP_STACK, MAP_LOCKED, MAP_NONBLOCK, MAP_NORESERVE, MAP_POPULATE, MAP_GROWSDOWN];
            found.extend(optional.map(|flag| map(length, prot, flags & !flag, file, offset)));
            found.push(map(length, PROT_READ | PROT_WRITE, flags, file, offset));
            found.push(map(length, prot, flags, file, 0));
            let private = flags & !MAP_SHARED_VALIDATE | MAP_PRIVATE;
            found.push(map(length, prot, private, file, offset));
            if address != 0 {
                let fixed = flags & !MAP_FIXED_NOREPLACE | MAP_FIXED;
                found.push(map(length, prot, fixed, file, offset));
            }
            found.push(map(length, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0));
            found
        }
        Call::Unmap { address, length } => lengths(length).map(|length| Call::Unmap { address, length }).collect(),
        Call::Protect { address, length, prot } => {
            lengths(length).map(|length| Call::Protect { address, length, prot }).collect()
        }
        Call::Remap { address, length, new_length, flags, new_address } => {
            let remap = |length, new_length, flags| Call::Remap { address, length, new_length, flags, new_address };
            let mut found: Vec<Call> = lengths(new_length).map(|new| remap(length, new, flags)).collect();
            found.extend(lengths(length).map(|length| remap(length, new_length, flags)));
            found.extend(lengths(length).map(|length| remap(length, length, flags)));
            found.push(remap(length, new_length, flags & !MREMAP_DONTUNMAP));
            found
        }
        Call::Advise { address, length, advice } => {
            lengths(length).map(|length| Call::Advise { address, length, advice }).collect()
        }
        Call::Sync { address, length, flags } => {
            lengths(length).map(|length| Call::Sync { address, length, flags }).collect()
        }
        Call::Residency { address, length } => {
            lengths(length).map(|length| Call::Residency { address, length }).collect()
        }
        Call::Load { address } => vec![Call::Load { address: address & !(PAGE - 1) }],
        Call::Store { address, .. } => {
            vec![Call::Store { address, value: 1 }, Call::Store { address: address & !(PAGE - 1), value: 1 }]
        }
        Call::Read { address, value } => vec![
            Call::Read { address: address & !(PAGE - 1), value: 1 },
            Call::Read { address, value: 1 },
            Call::Store { address, value },
        ],
        Call::Write { address } => vec![Call::Write { address: address & !(PAGE - 1) }, Call::Load { address }],
        Call::Brk { .. } | Call::Truncate { .. } | Call::Fork | Call::Exit => Vec::new(),
    }
}

/// Plainer lengths.
fn lengths(length: u64) -> impl Iterator<Item = u64> {
    [length.div_ceil(PAGE).saturating_mul(PAGE), 4 * PAGE, 3 * PAGE, 2 * PAGE, PAGE]
        .into_iter()
        .filter(move |plainer| *plainer < length || !length.is_multiple_of(PAGE) && plainer - length < PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::{RECIPE, Recipe, sequence};

    /// Whether some process stores after some fork: what a difference might need.
    fn stores_after_fork(ops: &[Op]) -> bool {
        let fork = ops.iter().position(|op| op.call == Call::Fork);
        fork.is_some_and(|fork| ops[fork..].iter().any(|op| matches!(op.call, Call::Store { .. })))
    }

    #[test]
    fn what_is_not_needed_goes() {
        let recipe = RECIPE;
        let found = (0..100).map(|seed| sequence(seed, recipe)).find(|ops| stores_after_fork(ops));
        let ops = shrink(&found.expect("one of them does"), stores_after_fork);
        assert_eq!(ops.len(), 2);
        assert_eq!(ops[0], Op { process: 0, call: Call::Fork, pressure: 0 });
        assert!(matches!(ops[1], Op { process: 0, call: Call::Store { value: 1, .. }, pressure: 0 }));
    }

    #[test]
    fn calls_become_plainer_and_that_ends() {
        let recipe = Recipe { has_pressure: false, ..RECIPE };
        for seed in 0..50 {
            for op in sequence(seed, recipe) {
                let plainest = shrink(&[op], |_| true);
                assert!(simpler(plainest[0]).is_empty(), "{plainest:?}");
            }
        }
    }
}
