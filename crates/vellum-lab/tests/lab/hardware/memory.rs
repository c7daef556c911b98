//! Physical memory.

use vellum::MemoryRange;
use vellum::arch::{Arch, X86_64};
use vellum::phys::Pfn;
use vellum_lab::hardware::{HostMemory, MachineConfig};

fn memory(config: &MachineConfig) -> HostMemory<X86_64> {
    HostMemory::new(&config.ranges).expect("host memory")
}

#[test]
fn holes_are_no_memory() {
    let config = MachineConfig::new(1, 8).and_range(1 << 20, 4, 1);
    let memory = memory(&config);
    let second = config.ranges[1].start;
    assert!(!memory.contains(Pfn(255)) && memory.contains(Pfn(256)) && memory.contains(Pfn(263)));
    assert!(!memory.contains(Pfn(264)) && !memory.contains(Pfn(second.0 - 1)) && memory.contains(second));
    assert!(memory.word(Pfn(264), 0).is_none() && memory.word(Pfn(u64::MAX), 0).is_none());
    assert_eq!(config.frames(), 12);
}

#[test]
fn frames_are_aligned_and_consecutive() {
    let memory = memory(&MachineConfig::new(1, 8));
    let address = |pfn| memory.frame(Pfn(pfn)) as usize;
    assert_eq!(address(256) % (1 << X86_64::PAGE_SHIFT), 0);
    assert_eq!(address(257), address(256) + (1 << X86_64::PAGE_SHIFT));
}

#[test]
fn bytes_come_back_at_any_alignment() {
    let memory = memory(&MachineConfig::new(1, 2));
    let mut expected = [0u8; 4096];
    let mut value = 0u8;
    for offset in 0..40 {
        for length in 0..40 {
            let bytes: Vec<u8> = std::iter::repeat_with(|| {
                value = value.wrapping_mul(5).wrapping_add(37);
                value
            })
            .take(length)
            .collect();
            memory.write(Pfn(256), offset, &bytes).expect("inside the frame");
            expected[offset..offset + length].copy_from_slice(&bytes);
            let mut read = vec![0; 80];
            memory.read(Pfn(256), 0, &mut read).expect("inside the frame");
            assert_eq!(read, expected[..80], "{length} bytes at {offset}");
        }
    }
}

#[test]
fn accesses_stay_inside_their_frame() {
    let memory = memory(&MachineConfig::new(1, 2));
    assert_eq!(memory.write(Pfn(256), 4095, &[1]), Some(()));
    assert_eq!(memory.write(Pfn(256), 4095, &[1, 2]), None);
    assert_eq!(memory.read(Pfn(256), usize::MAX, &mut [0; 2]), None);
    assert_eq!(memory.read(Pfn(258), 0, &mut [0]), None);
}

#[test]
fn threads_storing_into_one_word_lose_nothing() {
    let memory = memory(&MachineConfig::new(1, 1));
    std::thread::scope(|scope| {
        for place in 0..4 {
            let memory = &memory;
            scope.spawn(move || {
                for round in 0..10_000u32 {
                    memory.write(Pfn(256), place, &[round as u8]).expect("inside the frame");
                    let mut byte = [0];
                    memory.read(Pfn(256), place, &mut byte).expect("inside the frame");
                    assert_eq!(byte[0], round as u8);
                }
            });
        }
    });
}

#[test]
fn wrong_ranges_make_a_machine_for_the_core_to_refuse() {
    let wrap = MemoryRange { start: Pfn(u64::MAX - 1), frames: 4, node: 0 };
    let empty = MemoryRange { start: Pfn(7), frames: 0, node: 0 };
    let memory = HostMemory::<X86_64>::new(&[wrap, empty]).expect("nothing to allocate");
    assert_eq!(memory.ranges(), [wrap, empty]);
    assert!(!memory.contains(Pfn(u64::MAX - 1)) && !memory.contains(Pfn(7)));
    assert!(HostMemory::<X86_64>::new(&[MemoryRange { start: Pfn(0), frames: 1 << 60, node: 0 }]).is_err());
}
