/// Executes every launcher of the operation.
pub fn launch_all() {}
