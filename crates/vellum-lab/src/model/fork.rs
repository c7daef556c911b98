//! Fork.

use super::space::SpaceState;
use super::{Model, Quirk, SpaceId};
use vellum::Error;

impl Model {
    /// A child of `parent`: it gets every area but those advised otherwise, with its guards, and sees private pages as
    /// they are now.
    ///
    /// # Errors
    /// [`Error::CommitLimit`].
    pub fn try_fork(&mut self, parent: SpaceId) -> Result<SpaceId, Error> {
        let areas = self.space(parent).areas.iter();
        let inherited = areas.filter(|area| area.attributes.committed && !area.attributes.dont_fork);
        self.may_commit(inherited.map(|area| area.end - area.start).sum(), 0)?;
        Ok(self.fork(parent))
    }

    /// [`Model::try_fork`], whatever is committed.
    pub fn fork(&mut self, parent: SpaceId) -> SpaceId {
        let quirk = self.quirk;
        let shift = self.limits.page_shift;
        let parent = self.space(parent);
        let mut child = SpaceState::new(parent.stack_limit);
        child.brk = parent.brk;
        for area in parent.areas.iter().filter(|area| !area.attributes.dont_fork) {
            child.areas.insert(area.start, area.end, area.attributes);
            if !area.attributes.wipe_on_fork && quirk != Some(Quirk::LoseGuardsAtFork) {
                let guards = parent.guards.within(area.start, area.end);
                guards.into_iter().for_each(|(start, end)| child.guards.add(start, end));
            }
        }
        for (&page, contents) in &parent.pages {
            let area = child.areas.find(page << shift);
            let is_inherited = area.is_some_and(|area| match quirk {
                Some(Quirk::ForgetWipeOnFork) => true,
                Some(Quirk::LoseAtFork) => false,
                _ => !area.attributes.wipe_on_fork,
            });
            if is_inherited {
                let mut copy = contents.clone();
                if quirk == Some(Quirk::LoseTagsAtFork) {
                    copy.lose_tags();
                }
                child.pages.insert(page, copy);
            }
        }
        self.add_space(child)
    }
}
