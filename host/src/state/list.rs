pub fn decode(_e: &[u8], _o: &mut crate::model::Column) -> crate::error::Result<()> { todo!() }
pub fn push_element(_b: &mut Vec<u8>, _e: &[u8]) { todo!() }
