use anyhow::Result;
pub(crate) struct Options;
impl Options {
    pub(crate) fn parse(_: &[&str]) -> Result<Self> {
        Ok(Self)
    }
}
pub(crate) fn run(_: &Options) -> Result<()> {
    Ok(())
}
pub(crate) fn end_to_end_only(_: &[&str]) -> Result<()> {
    Ok(())
}
