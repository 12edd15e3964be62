pub fn timeline() {}
