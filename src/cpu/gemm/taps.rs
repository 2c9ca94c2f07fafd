//! Where the factors of a product lie: rows of pointers, found once for a block of rows.

use std::cell::Cell;
use std::ops::Range;

/// Where the taps of rows lie. A closure `|row, pointers|` that fills in one row's pointers implements it.
pub trait Taps: Sync {
    /// Fills in where the taps of `rows` lie, the taps of a row side by side. What has to be put
    /// together first goes to `scratch`, which is empty now and lives as long as the table.
    fn locate(&self, rows: Range<usize>, table: &mut [*const f32], scratch: &mut Vec<f32>);
}

impl<P: Fn(usize, &mut [*const f32]) + Sync> Taps for P {
    #[inline]
    fn locate(&self, rows: Range<usize>, table: &mut [*const f32], _: &mut Vec<f32>) {
        // There are no taps where no output reads an input.
        let taps = (table.len() / rows.len()).max(1);
        for (row, pointers) in rows.zip(table.chunks_exact_mut(taps)) {
            self(row, pointers);
        }
    }
}

/// Memory for a task, which its thread keeps for the next one.
#[derive(Default)]
pub(super) struct Scratch {
    table: Vec<*const f32>,
    copies: Vec<f32>,
    /// Rows of the result.
    pub rows: Vec<*mut f32>,
    /// A block of B.
    pub packed: Vec<f32>,
}

impl Scratch {
    /// Runs `task` with this thread's memory.
    pub fn with(task: impl FnOnce(&mut Scratch)) {
        thread_local! {
            static SCRATCH: Cell<Scratch> = Cell::default();
        }
        // Taken, not borrowed: a task that starts tasks on this thread finds new memory.
        let mut scratch = SCRATCH.take();
        task(&mut scratch);
        SCRATCH.set(scratch);
    }

    /// The table of `count` taps a row.
    pub fn locate(&mut self, taps: &(impl Taps + ?Sized), rows: Range<usize>, count: usize) {
        self.table.clear();
        self.table.resize(rows.len() * count, std::ptr::null());
        self.copies.clear();
        taps.locate(rows, &mut self.table, &mut self.copies);
    }

    /// The pointers of a row of the table and those after it.
    pub fn pointers(&self, row: usize, count: usize) -> *const *const f32 {
        self.table[row * count..].as_ptr()
    }
}
