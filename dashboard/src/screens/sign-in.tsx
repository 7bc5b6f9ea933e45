// Asks for a token, which stays in this tab.
import { signal, useSignal } from '@preact/signals';
import { get, needsToken, signIn, signOut, type Problem } from '../api/client.ts';
import type { Caller } from '../api/types.ts';
import { asProblem } from '../resource.ts';
import { Cli, ProblemNote } from '../ui/basics.tsx';

/** Why the last token was refused. It outlives the screen, which is left as soon as there is a token. */
const problem = signal<Problem | null>(null);

export function SignInScreen() {
  const text = useSignal('');
  const namespace = useSignal('');
  const isKept = useSignal(true);
  const submit = async (event: Event) => {
    event.preventDefault();
    problem.value = null;
    signOut();
    signIn(text.value.trim(), namespace.value.trim() || null, isKept.value);
    try {
      await get<Caller>('/v1/caller');
    } catch (error) {
      signOut();
      needsToken.value = true;
      problem.value = asProblem(error);
    }
  };
  return (
    <form class="sign-in panel" onSubmit={submit}>
      <h1>Sign in</h1>
      <p class="muted">This server asks for a token. It is sent as a header and stays in this tab.</p>
      <ProblemNote problem={problem.value} />
      <label class="field">
        <span>Token</span>
        <input type="password" required autocomplete="off" spellcheck={false} autofocus value={text.value} placeholder="cofd_…" onInput={(event) => (text.value = event.currentTarget.value)} />
      </label>
      <label class="field">
        <span>Namespace <span class="muted">only for a token of all namespaces</span></span>
        <input autocomplete="off" spellcheck={false} value={namespace.value} placeholder="default" onInput={(event) => (namespace.value = event.currentTarget.value)} />
      </label>
      <label class="check">
        <input type="checkbox" checked={isKept.value} onChange={(event) => (isKept.value = event.currentTarget.checked)} />
        Keep it when this tab is loaded again
      </label>
      <div class="actions">
        <button type="submit" class="primary">Sign in</button>
      </div>
      <p class="muted">An operator of the server creates tokens:</p>
      <Cli command="cofferdam token create --role read --data-dir DATA" />
    </form>
  );
}
