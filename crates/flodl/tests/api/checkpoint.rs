use super::*;

pub use flodl::{LoadReport, MigrateReport};

free! {
    fn save_checkpoint_file(path: &str, params: &[(String, Parameter)], buffers: &[(String, Buffer)], structural_hash: Option<&str>) -> Result<()>;
    fn load_checkpoint_file(path: &str, params: &[(String, Parameter)], buffers: &[(String, Buffer)], structural_hash: Option<&str>) -> Result<LoadReport>;
    fn checkpoint_keys(path: &str) -> Result<Vec<String>>;
    fn checkpoint_version(path: &str) -> Result<u32>;
    fn migrate_checkpoint_file(src: &str, dst: &str, params: &[(String, Parameter)], buffers: &[(String, Buffer)]) -> Result<MigrateReport>;
}

methods! { migrate_report_: MigrateReport;
    fn is_complete(&self) -> bool;
}

mod generic {
    use super::*;

    type Parameters<'a> = &'a [(String, Parameter)];
    type Buffers<'a> = &'a [(String, Buffer)];

    fn streams<W: Write, R: Read>(w: &mut W, r: &mut R, parameters: Parameters, buffers: Buffers) {
        let _: Result<()> = save_checkpoint(w, parameters, buffers, Some("hash"));
        let _: Result<LoadReport> = load_checkpoint(r, parameters, buffers, None);
        let _: Result<MigrateReport> = migrate_checkpoint(r, w, parameters, buffers);
    }
}
