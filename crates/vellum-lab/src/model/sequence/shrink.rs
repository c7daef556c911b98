//! Making a failing sequence short: which operations are plainer.

use super::op::{Goal, How, Length, Op, Rights, Spot, What};

/// The shortest and plainest sequence found for which `fails` still holds; it must hold for `ops`.
pub fn shrink(ops: &[Op], fails: impl FnMut(&[Op]) -> bool) -> Vec<Op> {
    crate::shrink::shrink(ops, simpler, fails)
}

/// Operations that are plainer than `op` in one respect each.
fn simpler(op: Op) -> Vec<Op> {
    let mut found = Vec::new();
    let mut try_with = |change: &dyn Fn(&mut Op)| {
        let mut simpler = op;
        change(&mut simpler);
        if simpler != op {
            found.push(simpler);
        }
    };
    try_with(&|op| op.cpu_mut().into_iter().for_each(|cpu| *cpu = 0));
    try_with(&|op| op.space_mut().into_iter().for_each(|space| *space = 0));
    for pages in [3, 2, 1] {
        for which in 0..2 {
            try_with(&|op| {
                if let Some(length) = op.lengths_mut().into_iter().nth(which) {
                    *length = shorter(*length, pages);
                }
            });
        }
    }
    try_with(&|op| {
        for spot in op.spots_mut() {
            match spot {
                Spot::Answer { page, .. } => *page = 0,
                Spot::Mapped { page, .. } => *page = 0,
                Spot::Pool(_) | Spot::Raw(_) => {}
            }
        }
    });
    try_with(&|op| {
        for spot in op.spots_mut() {
            if let Spot::Mapped { area, .. } = spot {
                *area = 0;
            }
        }
    });
    try_with(&plainer);
    if let Op::Map { .. } = op {
        try_with(&|op| {
            if let Op::Map { what, .. } = op {
                *what = What::PrivateZero;
            }
        });
        try_with(&|op| {
            if let Op::Map { rights, .. } = op {
                *rights = Rights::ReadWrite;
            }
        });
        try_with(&|op| {
            if let Op::Map { most, .. } = op {
                *most = Rights::AllRights;
            }
        });
    }
    found
}

/// So many pages, if that is plainer than `length`.
fn shorter(length: Length, pages: u16) -> Length {
    match length {
        Length::Pages(now) if now <= pages => length,
        _ => Length::Pages(pages),
    }
}

/// Plainer in what only one kind of operation has.
fn plainer(op: &mut Op) {
    match op {
        Op::Map { how, .. } => *how = How::Plain,
        Op::Store { offset, bytes, .. }
        | Op::Load { offset, bytes, .. }
        | Op::CopyOut { offset, bytes, .. }
        | Op::CopyIn { offset, bytes, .. } => (*offset, *bytes) = (0, 1),
        Op::Brk { offset, .. } | Op::BrkBase { offset, .. } => *offset = 0,
        Op::Remap { goal: Goal::MoveTo(_) | Goal::Near(_), .. } => {}
        Op::Remap { keep_old, .. } => *keep_old = false,
        _ => {}
    }
}
