//! The scenarios: each hazard of the catalogue as a small program, in a file named after it, in a folder by subject.
//!
//! A scenario's id in the catalogue is in its file. `docs/SCENARIOS.md` says how to write one; `vellum check --list`
//! shows them all.

mod programs;

use std::sync::OnceLock;
use vellum_lab::scenario::Scenario;

/// Declares a module for each file, and collects what is in them.
macro_rules! scenarios {
    ($($(#[$doc:meta])* $folder:ident { $($file:ident,)* })*) => {
        $($(#[$doc])* mod $folder {
            $(pub(crate) mod $file;)*
        })*

        /// By folder and file.
        static FILES: &[&Scenario] = &[$($(&$folder::$file::SCENARIO,)*)*];
    };
}

scenarios! {
    /// Unmap batches: what reclaim and migration owe until their one flush.
    batch {
        written_before_flush,
        clean_page_stored_to,
        freed_before_flush,
        mprotect_beside_batch,
        munmap_beside_batch,
        two_batches_in_one_leaf,
        taken_after_settling,
        copied_before_flush,
        busy_page_copied_before_flush,
        entry_without_rights,
        broadcasts_not_awaited,
        dontneed_beside_batch,
        fault_beside_batch,
        fork_beside_batch,
        free_beside_batch,
        mremap_beside_batch,
        fold_beside_batch,
        empty_leaf_unmapped,
        empty_leaf_unmapped_by_claim,
        two_pages,
        two_leaves,
        two_spaces,
        page_mapped_twice,
        one_of_two_refused,
    }
    /// How much memory is promised.
    overcommit {
        both_fit_alone,
        missed_while_moved,
    }
    /// Shootdowns: generations, acknowledgements, rights that are taken away.
    flush {
        acknowledged_before_done,
        freed_before_acknowledged,
        spurious_fault,
        right_taken_without_flush,
        partial_flush_skips_generations,
        targets_before_generation,
        flushers_wait_for_each_other,
    }
    /// Leaves that are taken out of the tree with what they show.
    detach {
        freed_before_flush,
        uncounted_before_flush,
        fault_in_detached_leaf,
        replaced_before_flush,
        under_lazy_cpu,
        stored_to_beside_write_back,
        migrated_meanwhile,
        swapped_beside_swapoff,
    }
    /// Frames and page tables that are freed.
    free {
        frame_before_flush,
        mapping_uncounted_before_flush,
        table_under_walker,
        table_in_walk_cache,
        table_under_lazy_cpu,
        reclaimed_table_under_walker,
        emptiness_looked_at_too_early,
        fault_locks_unlinked_table,
        walker_reads_unlinked_table,
        table_in_the_place_of_another,
        table_in_the_place_of_tidied,
        upper_entry_read_twice,
    }
    /// The kernel reaches into a program's memory, as system calls do.
    reach {
        not_noted,
        written_meanwhile,
        page_taken_meanwhile,
        beside_fork,
        word_beside_move,
        page_of_another_read,
    }
    /// Huge pages: entries that may be a page or a table.
    huge {
        emptied_beside_lookup,
        discarded_beside_split,
        noted_beside_protect,
        noted_beside_busy_split,
        split_shown_empty,
        noted_beside_split,
        two_sizes_cached,
        table_read_as_page,
        installed_across_discard,
        small_pages_under_walker,
        table_under_walker,
        looks_up_with_interrupts_off,
        rejoined_beside_split,
        nothing_found_while_split,
        reached_beside_fork,
        two_faults_at_one_place,
        page_over_table,
        installed_after_munmap,
        installed_behind_move,
        fault_before_fork_flush,
        split_beside_fork,
        reused_beside_fork,
        zeroes_seen_after_store,
        freed_before_flush,
        uncounted_before_flush,
        collapse_stored_to_meanwhile,
        collapse_of_held_page,
        collapse_beside_remap,
        collapse_beside_fault,
        collapse_place_taken,
        collapse_beside_page_out,
        collapse_leaf_freed_under_walker,
        collapse_leaf_in_walk_cache,
        collapse_entry_read_twice,
        collapse_rejoined_under_walker,
        folio_counted_while_dealt_out,
        folio_of_another_page,
        folio_stored_to_by_device,
        folio_rest_kept,
        put_out_before_flush,
        put_out_beside_dontneed,
        put_out_undone_beside_fork,
        folio_moved_while_referenced,
        folio_moved_beside_munmap,
        shared_cut_before_last_look,
        shared_shown_while_cut,
        shared_shown_behind_cut,
        shared_found_while_split,
        shared_beside_small_page,
        shared_cut_in_part,
        shared_moved_before_flush,
        shared_cut_beside_move,
        shared_hole_beside_move,
        shared_collapse_of_held_page,
        shared_collapse_seen_empty,
    }
    /// `mremap`.
    remap {
        hole_seen_in_replaced_mapping,
        hole_seen_in_replaced_huge_page,
        cleaned_before_flush,
        freed_before_flush,
        other_operations_admitted,
        other_operations_admitted_in_leaf,
        page_comes_where_there_was_none,
        opposite_ways,
        to_where_nothing_is,
        table_made_at_new_place,
        cut_beside_move,
        copied_beside_huge_move,
        huge_page_freed_before_flush,
        beside_all_between,
        behind_the_new_place,
        beside_some_between,
    }
    /// Copy on write, and pages that are somebody's own.
    cow {
        exclusive_lost_in_swap,
        lookup_of_foreign_page,
        copied_before_flush,
    }
    /// Fork as a snapshot beside everything else.
    fork {
        fault_before_flush,
        reused_beside_fork,
        copy_missed_by_swapoff,
        fails_half_way,
        swap_entry_exclusive_twice,
        last_entry_found_too_early,
        exclusive_entry_of_moving_page,
        copy_not_found_by_migration,
        fault_after_dontneed,
        fault_after_guard,
    }
    /// Slots, areas and the swap cache.
    swap {
        failed_unmapping_keeps_count,
        slot_read_twice,
        page_of_another_slot,
        area_freed_under_fault,
        mapped_while_written,
        off_beside_remap,
        off_without_memory,
        off_beside_munmap,
        off_beside_page_out,
        off_beside_exit,
        off_beside_cold,
    }
    /// Memory tags on their way through swap and migration.
    tags {
        outlive_failed_attempt,
        saved_for_a_part,
        lost_by_swapoff,
        lost_by_migration,
        lost_by_copy,
        taken_by_first_of_two,
        do_not_follow_remap,
        stay_with_freed_slot,
        slot_freed_before_restored,
        cleared_after_user_set_them,
        failed_save_undone,
    }
    /// Pages that are moved to other frames.
    migrate {
        moved_while_referenced,
        file_page_while_referenced,
        entries_left_by_failed_move,
        entry_missed_by_walk,
        huge_entry_missed_by_walk,
        dirtiness_forgotten,
        waiter_holds_reference,
        lock_of_another_page,
        shown_before_copy,
        wait_for_each_other,
    }
    /// Reverse-mapping walks.
    rmap {
        lineage_node_freed_early,
        brothers_passed_by,
        process_ends_under_walk,
        entry_visited_twice,
    }
    /// Page caches: write-back, truncation, lookup.
    file {
        dirty_before_flush,
        marked_clean_after_write,
        lookup_of_another_page,
        mapped_after_truncate,
        mapped_as_truncate_ends,
        copied_after_truncate,
        closed_under_fault,
        shadow_replaces_page,
        waits_to_be_read,
        write_backs_together,
        busy_page_left_dirty,
        written_after_truncate,
        cut_beside_munmap,
        unmapped_beside_write_back,
        process_ends_beside_write_back,
        reclaimed_beside_write_back,
        migrated_beside_write_back,
        moved_beside_write_back,
        protected_beside_write_back,
        mapped_by_two_at_once,
        published_before_last_look,
        shown_instead_of_copy,
        cut_shows_after_copy,
        truncated_beside_fork,
        truncated_beside_remap,
        grows_while_read,
        cut_tail_comes_back,
        stored_behind_the_end,
        shown_in_hole,
        read_beside_hole,
        moved_beside_hole,
    }
    /// Faults, which take no lock of the space.
    fault {
        reads_freed_table,
        installs_after_munmap,
        installs_in_guard,
        file_page_in_guard,
        swapped_page_in_guard,
        table_made_twice,
        table_made_of_old_mapping,
        sequence_unchanged_by_fold,
        waits_with_interrupts_off,
        classes_read_half,
        maps_read_half,
        hole_read_half,
        fails_for_replaced_mapping,
        installs_writable_in_readonly,
    }
    /// Mappings that are made, and stacks that grow.
    map {
        stack_grows_into_mapping,
        half_made_mapping_unmapped,
        place_looked_at_before_claim,
        gap_mapped_beside_growth,
        stack_read_half,
        stack_shrinks_beside_growth,
        room_moves_beside_search,
        gap_mapped_the_short_way,
        class_given_up_in_use,
        replaced_before_flush,
        replaced_beside_truncation,
    }
    /// Reclaim and lazy freeing.
    reclaim {
        lazyfree_under_device,
        lazyfree_stored_to_again,
        lazyfree_stored_to_while_moved,
        clean_before_unreferenced,
        clean_file_page_before_unreferenced,
        marked_clean_after_write,
        unreferenced_isolated,
        given_up_beside_page_out,
        given_up_beside_mmap,
    }
    /// Context switches, lazy CPUs, identifiers.
    switch {
        visible_too_late,
        generation_before_target,
        lazy_left_without_comparing,
        identifier_reused,
        rollover,
        root_freed_under_lazy_cpu,
        root_freed_under_switch,
        lazy_in_another_space,
        run_queue_locked_by_interrupt,
        two_processes_end,
        mailbox_released_after_interrupt,
        identifiers_locked_by_interrupt,
    }
    /// Operations that the core does not have.
    toy {
        dirty_page_late_flush,
        clean_page_late_flush,
    }
}

/// All scenarios, by their ids.
pub fn all() -> &'static [&'static Scenario] {
    static SORTED: OnceLock<Vec<&Scenario>> = OnceLock::new();
    SORTED.get_or_init(|| {
        let mut all = FILES.to_vec();
        all.sort_by_key(|scenario| key(scenario.id));
        all
    })
}

/// What ids are sorted by: letter, number, and what follows.
fn key(id: &str) -> (&str, u32, &str) {
    let (letter, rest) = id.split_at(1);
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    (letter, rest[..digits].parse().unwrap_or(0), &rest[digits..])
}

/// The scenario `id`.
pub fn find(id: &str) -> Option<&'static Scenario> {
    all().iter().copied().find(|scenario| scenario.id.eq_ignore_ascii_case(id))
}

/// How long the searches of `vellum check` for the scenario `id` took, added up, in seconds, if that was measured.
pub fn seconds(id: &str) -> Option<f64> {
    let lines = include_str!("seconds.txt").lines().filter(|line| !line.starts_with('#'));
    let seconds = lines.filter_map(|line| line.split_once(' ')).find(|(of, _)| *of == id)?.1;
    seconds.parse().ok()
}
