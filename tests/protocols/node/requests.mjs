// Prints lines of JSON for the test beside this folder; `countedFetch` one for each request, with
// what the server gets to know of the document.

export const tell = (what, value) => console.log(JSON.stringify({ [what]: value }));

export const named = ({ query, documentId, doc_id, extensions }) => ({
  query: Boolean(query),
  hash: Boolean(extensions?.persistedQuery?.sha256Hash),
  id: documentId ?? doc_id ?? null,
});

export async function countedFetch(address, options = {}) {
  const url = new URL(address);
  const method = options.method ?? 'GET';
  const parameters = Object.fromEntries(url.searchParams);
  if (parameters.extensions) parameters.extensions = JSON.parse(parameters.extensions);
  tell('sent', { method, ...named(method === 'GET' ? parameters : JSON.parse(options.body)) });
  return fetch(address, options);
}

export const codes = (error) =>
  [error?.graphQLErrors, error?.errors, error?.result?.errors, error?.networkError?.result?.errors]
    .flatMap((errors) => errors ?? [])
    .map(({ extensions }) => extensions?.code);
