// A question before an action that cannot be undone. It asks for the name of the job.
import { useSignal } from '@preact/signals';
import type { ComponentChildren } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import type { Problem } from '../api/client.ts';
import { asProblem } from '../resource.ts';
import { ProblemNote } from './basics.tsx';

export interface Question {
  title: string;
  text: ComponentChildren;
  action: string;
  /** The text to type before the action is possible. */
  confirm?: string;
  danger?: boolean;
  run: () => Promise<void>;
}

export function Dialog({ question, close }: { question: Question; close: () => void }) {
  const box = useRef<HTMLDialogElement>(null);
  const typed = useSignal('');
  const problem = useSignal<Problem | null>(null);
  const isBusy = useSignal(false);

  useEffect(() => {
    const opener = document.activeElement as HTMLElement | null;
    box.current!.showModal();
    return () => opener?.focus();
  }, []);

  const run = async (event: Event) => {
    event.preventDefault();
    isBusy.value = true;
    try {
      await question.run();
      close();
    } catch (error) {
      problem.value = asProblem(error);
    } finally {
      isBusy.value = false;
    }
  };
  const isReady = !question.confirm || typed.value === question.confirm;
  return (
    <dialog ref={box} onClose={close} aria-labelledby="dialog-title">
      <form onSubmit={run}>
        <h2 id="dialog-title">{question.title}</h2>
        <div class="text">{question.text}</div>
        {question.confirm && (
          <label class="field">
            <span>
              Type <b>{question.confirm}</b> to confirm
            </span>
            <input autocomplete="off" spellcheck={false} value={typed.value} onInput={(event) => (typed.value = event.currentTarget.value)} />
          </label>
        )}
        <ProblemNote problem={problem.value} />
        <div class="actions">
          <button type="button" onClick={close}>
            Back
          </button>
          <button type="submit" class={question.danger ? 'danger' : 'primary'} disabled={!isReady || isBusy.value}>
            {question.action}
          </button>
        </div>
      </form>
    </dialog>
  );
}
