//! Keyset pages: a page starts after the last key of the one before, so rows that are added
//! meanwhile neither repeat nor hide others.

/// How many items a page holds: 1 to 200, 50 unless asked otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageLimit(u8);

impl PageLimit {
    /// The largest page.
    pub const MAX: u8 = 200;

    /// The limit of the largest page.
    pub const LARGEST: Self = Self(Self::MAX);

    /// A limit within bounds, or nothing.
    #[must_use]
    pub fn new(limit: u32) -> Option<Self> {
        u8::try_from(limit)
            .ok()
            .filter(|limit| (1..=Self::MAX).contains(limit))
            .map(Self)
    }

    /// The number of items.
    #[must_use]
    pub const fn get(self) -> usize {
        self.0 as usize
    }
}

impl Default for PageLimit {
    fn default() -> Self {
        Self(50)
    }
}

/// Which page is wanted: at most `limit` items, those behind `after` in the list's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageRequest<Key> {
    /// The most items that come back.
    pub limit: PageLimit,
    /// The key of the last item already seen; the first page when absent.
    pub after: Option<Key>,
}

impl<Key> PageRequest<Key> {
    /// The first page of the usual size.
    #[must_use]
    pub fn first() -> Self {
        Self {
            limit: PageLimit::default(),
            after: None,
        }
    }

    /// What a store fetches: one more than the page holds tells whether another page follows.
    #[must_use]
    pub fn rows_to_fetch(&self) -> i64 {
        i64::from(self.limit.0) + 1
    }
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<Item, Key> {
    /// The items, in the list's order.
    pub items: Vec<Item>,
    /// Where the next page starts; nothing when this was the last.
    pub next: Option<Key>,
}

impl<Item, Key> Page<Item, Key> {
    /// Makes a page of the rows that [`PageRequest::rows_to_fetch`] asked for.
    #[must_use]
    pub fn from_rows(
        mut rows: Vec<Item>,
        request: &PageRequest<Key>,
        key_of: impl FnOnce(&Item) -> Key,
    ) -> Self {
        let limit = request.limit.get();
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = if more { rows.last().map(key_of) } else { None };
        Self { items: rows, next }
    }
}
