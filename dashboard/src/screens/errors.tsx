// The page that a problem's `type` names: what each code means and what to do.
import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { send, type Problem } from '../api/client.ts';
import { Markdown } from '../markdown.tsx';
import { path, query } from '../router.ts';
import { asProblem } from '../resource.ts';
import { ProblemNote } from '../ui/basics.tsx';

export function ErrorsScreen() {
  const text = useSignal<string | null>(null);
  const problem = useSignal<Problem | null>(null);
  useEffect(() => {
    send('GET', '/docs/errors.md')
      .then((response) => response.text())
      .then((answer) => (text.value = answer))
      .catch((error) => (problem.value = asProblem(error)));
  }, []);
  useEffect(() => {
    if (text.value === null || !location.hash) return;
    const heading = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    heading?.scrollIntoView({ block: 'start' });
    document.querySelector('.doc .target')?.classList.remove('target');
    heading?.classList.add('target');
  }, [text.value, location.hash, path.value, query.value]);
  return (
    <>
      <ProblemNote problem={problem.value} />
      {text.value !== null && <Markdown text={text.value} />}
    </>
  );
}
