// Apollo asks for each object's type besides.
export const withoutTypes = (data) =>
  JSON.parse(JSON.stringify(data, (key, value) => (key === '__typename' ? undefined : value)));
