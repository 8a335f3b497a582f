//! The fields of a query or of a form: a list of pairs, in which a name may stand more than once.

/// What a browser sent as `name=value&…`, decoded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Fields(Vec<(String, String)>);

impl Fields {
    /// Reads a query or the body of a form.
    pub(crate) fn parse(text: &[u8]) -> Self {
        Self(form_urlencoded::parse(text).into_owned().collect())
    }

    /// The first value of a name, without white space around it; none if it is empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let mut named = self.0.iter().filter(|(key, _)| key == name).map(|(_, value)| value.trim());
        named.find(|value| !value.is_empty())
    }

    /// Every value of a name that is not empty.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = self.0.iter().filter(move |(key, _)| key == name);
        named.map(|(_, value)| value.trim()).filter(|value| !value.is_empty())
    }

    /// The names of the values that are not empty.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter(|(_, value)| !value.trim().is_empty()).map(|(key, _)| key.as_str())
    }

    /// The pairs that are not empty.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().filter(|(_, value)| !value.trim().is_empty()).map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Adds a pair.
    pub(crate) fn push(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.push((name.into(), value.into()));
    }

    /// The same without a name.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.0.retain(|(key, _)| key != name);
        self
    }

    /// As a query, without `?`.
    pub(crate) fn encode(&self) -> String {
        form_urlencoded::Serializer::new(String::new()).extend_pairs(&self.0).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::Fields;

    #[test]
    fn a_name_may_stand_more_than_once_and_comes_back_encoded() {
        let fields = Fields::parse(b"id=1&id=2&q=a+b%26&empty=+");
        assert_eq!(fields.all("id").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!((fields.get("q"), fields.get("empty"), fields.get("none")), (Some("a b&"), None, None));
        assert_eq!(fields.without("id").encode(), "q=a+b%26&empty=+");
    }
}
