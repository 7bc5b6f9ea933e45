// Reads a resource of the API for a screen, and reads it again with the beat of the server.
import { useSignal, useSignalEffect } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import { get, needsToken, Problem } from './api/client.ts';
import { beat } from './live.ts';

export interface Resource<T> {
  value: T | null;
  problem: Problem | null;
  isLoading: boolean;
  reload: () => void;
}

/** Reads `path` now and then at every `beats`-th beat. 0 reads it once. `null` reads nothing. */
export function useResource<T>(path: string | null, beats = 0): Resource<T> {
  const value = useSignal<T | null>(null);
  const problem = useSignal<Problem | null>(null);
  const isLoading = useSignal(path !== null);
  const wanted = useRef<string | null>(null);
  const isBusy = useRef(false);

  const load = async () => {
    if (path === null || isBusy.current || document.hidden || needsToken.peek()) return;
    isBusy.current = true;
    try {
      const answer = await get<T>(path);
      if (wanted.current === path) {
        value.value = answer;
        problem.value = null;
      }
    } catch (error) {
      // A server that does not answer is reported once, for the whole page.
      const isUnreachable = error instanceof Problem && error.status === 0 && value.peek() !== null;
      if (wanted.current === path && !isUnreachable) problem.value = asProblem(error);
    } finally {
      isBusy.current = false;
      isLoading.value = false;
      if (wanted.current !== null && wanted.current !== path) void latest.current();
    }
  };
  const latest = useRef(load);
  latest.current = load;

  useEffect(() => {
    wanted.current = path;
    value.value = null;
    problem.value = null;
    isLoading.value = path !== null;
    void load();
    return () => {
      wanted.current = null;
    };
  }, [path]);

  useSignalEffect(() => {
    const at = beat.value;
    if (beats > 0 && at % beats === 0) void latest.current();
  });
  return { value: value.value, problem: problem.value, isLoading: isLoading.value, reload: () => void latest.current() };
}

export const asProblem = (error: unknown): Problem =>
  error instanceof Problem ? error : new Problem(0, 'internal', error instanceof Error ? error.message : String(error));
