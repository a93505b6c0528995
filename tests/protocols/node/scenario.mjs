// What every client does with the server: `client` has ask(query, variables), follow(query,
// {next, error, complete}) → unsubscribe, and close(). Each result becomes one line of JSON on
// stdout; the test beside this folder changes the database in between.

const tell = (what, value) => console.log(JSON.stringify({ [what]: value }));
const messages = (error) => [error?.errors ?? error].flat().map((each) => each.message);

export async function play(client) {
  const username = 'valentine';
  const created = await client.ask(
    'mutation ($username: String) { createItem(owner: $username) { id state } }',
    { username },
  );
  tell('created', created);
  tell('asked', await client.ask('{ items(first: 1) { id state owner { username } } }'));
  await client.ask('{ nothing }').then(
    (data) => tell('unexpected', data),
    (error) => tell('refused', messages(error)),
  );
  await new Promise((resolve) => {
    client.follow('subscription { nothing }', {
      next: (data) => tell('unexpected', data),
      complete: () => {}, // follows the errors of an event stream
      error: (error) => resolve(tell('refused', messages(error))),
    });
  });
  await new Promise((resolve, reject) => {
    const leave = client.follow('subscription newest { item { state } }', {
      next: (data) => {
        tell('next', data);
        if (data.item.state === 'DONE') {
          leave();
          resolve();
        }
      },
      error: reject,
      complete: () => {},
    });
  });
  // The connection is as good as before.
  tell('asked', await client.ask('{ items(first: 1) { state } }'));
  await client.close();
  tell('closed', true);
}
