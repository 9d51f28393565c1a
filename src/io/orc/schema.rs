//! The types of a file's columns.

use orc_rust::proto::Type;
use orc_rust::proto::r#type::Kind;

/// Lists in lists in lists: nobody nests deeper, and orc-rust recurses.
const MAX_DEPTH: usize = 32;

/// A file's types, which form a tree: each type but the root is used by exactly one other.
#[derive(Debug)]
pub struct Schema {
    types: Vec<Type>,
}

impl Schema {
    /// Checks that the types form a tree of bearable depth below a struct.
    pub fn new(types: Vec<Type>) -> Result<Self, String> {
        let Some(root) = types.first() else { return Err("no schema".into()) };
        if root.kind() != Kind::Struct {
            return Err("the root of the schema is not a struct".into());
        }
        let mut depth = vec![None; types.len()];
        depth[0] = Some(0);
        for (id, ty) in types.iter().enumerate() {
            let Some(level) = depth[id] else { return Err(format!("type {id} belongs to no column")) };
            if level > MAX_DEPTH {
                return Err(format!("types nested more than {MAX_DEPTH} deep"));
            }
            let children = match ty.kind() {
                Kind::List => 1,
                Kind::Map => 2,
                Kind::Struct => ty.field_names.len(),
                Kind::Union => ty.subtypes.len(),
                _ => 0,
            };
            if Kind::try_from(ty.kind.unwrap_or_default()).is_err() || ty.subtypes.len() != children {
                return Err(format!("type {id} is not one of ORC's"));
            }
            for &child in &ty.subtypes {
                match depth.get_mut(child as usize) {
                    Some(place @ None) if child as usize > id => *place = Some(level + 1),
                    _ => return Err(format!("type {id} contains type {child}, so the types form no tree")),
                }
            }
        }
        Ok(Self { types })
    }

    pub fn types(&self) -> &[Type] {
        &self.types
    }

    /// Names and types of the columns.
    pub fn columns(&self) -> impl Iterator<Item = (&str, usize)> {
        let root = &self.types[0];
        root.field_names.iter().map(String::as_str).zip(root.subtypes.iter().map(|&id| id as usize))
    }

    /// The type of the column of that name.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns().find(|(column, _)| *column == name).map(|(_, id)| id)
    }

    /// The name of the column of that type.
    pub fn name(&self, id: usize) -> &str {
        self.columns().find(|&(_, column)| column == id).map_or("", |(name, _)| name)
    }

    pub fn kind(&self, id: usize) -> Kind {
        self.types[id].kind()
    }

    pub fn children(&self, id: usize) -> impl Iterator<Item = usize> {
        self.types[id].subtypes.iter().map(|&child| child as usize)
    }

    /// The type and all types below it.
    pub fn subtree(&self, id: usize) -> Vec<usize> {
        let mut found = vec![id];
        let mut next = 0;
        while let Some(&id) = found.get(next) {
            found.extend(self.children(id));
            next += 1;
        }
        found
    }

    /// The type in words: `list<bigint>`.
    pub fn describe(&self, id: usize) -> String {
        let mut children = self.children(id).map(|child| self.describe(child));
        match self.kind(id) {
            Kind::List => format!("list<{}>", children.next().unwrap_or_default()),
            Kind::Map => format!("map<{}>", children.collect::<Vec<_>>().join(",")),
            Kind::Union => format!("uniontype<{}>", children.collect::<Vec<_>>().join(",")),
            Kind::Struct => {
                let fields = self.types[id].field_names.iter().zip(children);
                let fields: Vec<_> = fields.map(|(name, ty)| format!("{name}:{ty}")).collect();
                format!("struct<{}>", fields.join(","))
            }
            Kind::Byte => "tinyint".into(),
            Kind::Short => "smallint".into(),
            Kind::Long => "bigint".into(),
            kind => kind.as_str_name().to_lowercase(),
        }
    }
}
